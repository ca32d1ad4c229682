"""Opens a dataset of any format that is read: native as it is, a foreign one by way of a cache.

A foreign dataset is converted once, episode by episode, into the native form in a folder of ours
beside it, ``<path>.embodied/<digest>`` (in the user's cache folder where that place cannot be
written). Labels lie in that folder, and the foreign files are only read. The digest is one of the
files' names, sizes and times, so a changed source is converted anew into another folder and earlier
labels stay where they are.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from embodied.config import build
from embodied.dataset import Dataset, FieldSlice
from embodied.errors import UserError
from embodied.files import read_json, sha256_bytes, sha256_file
from embodied.formats.convert import convert_apart, format_of

VERSION = 1  # of the conversion; another one converts again
TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.\w{8}")  # what ``atomic_path`` makes beside a cache
METADATA = ("meta/info.json", "metadata.json", "data/metadata.json")


def open_dataset(path: str | Path, fields: Mapping[str, Any] | None = None) -> Dataset:
    """Open a native dataset, or a Minari, D4RL, robomimic or LeRobot one.

    Args:
        path: The native folder, the HDF5 file, or the folder of a Minari or LeRobot dataset.
        fields: Names for parts of the observation: ``{name: {slice: [a, b], unit, frame,
            meaning}}`` (see ``FieldSlice``); rewards read them as state fields.

    Raises:
        UserError: No such dataset; damaged or hostile files; an unknown format or field.
    """
    path = Path(path)
    kind = None if (path / "dataset.json").is_file() else format_of(path)
    folder = path if kind is None else _converted(path, kind)
    try:
        dataset = Dataset(folder)
        _check_videos(folder.resolve())
    except UserError as error:
        if str(path) in str(error):
            raise
        raise UserError(f"{path}: {error}") from None
    named = {
        name: build(FieldSlice, item, f"fields.{name}") for name, item in (fields or {}).items()
    }
    return dataset.with_fields(named) if named else dataset


def open_datasets(
    paths: Sequence[str | Path], fields: Mapping[str, Any] | None = None
) -> list[Dataset]:
    """Open several datasets and check that they hold the same observation and action."""
    datasets = [open_dataset(path, fields) for path in paths]
    if not datasets:
        raise UserError("no dataset named; give one with data=FOLDER")
    first = datasets[0]
    for other in datasets[1:]:
        for name in ("observation", "action"):
            if other.column(name).shape[1:] != first.column(name).shape[1:]:
                raise UserError(
                    f"{other.folder} has {name} size {other.column(name).shape[1]}, {first.folder} "
                    f"has {first.column(name).shape[1]}; use datasets of one environment"
                )
    return datasets


def source_digest(path: Path) -> str:
    """Return a digest of a dataset's files: names, sizes and times, and the metadata's content."""
    files = [path] if path.is_file() else sorted(item for item in path.rglob("*") if item.is_file())
    facts = [(item.relative_to(path).as_posix(), *_size_and_time(item)) for item in files]
    content = [sha256_file(path / name) for name in METADATA if (path / name).is_file()]
    return sha256_bytes(json.dumps([VERSION, facts, content]).encode())


def _size_and_time(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _check_videos(folder: Path) -> None:
    """Refuse videos that lie neither in a dataset's folder nor in the source it is a cache of."""
    for name, entry in read_json(folder / "dataset.json")["columns"].items():
        if "video" in entry:
            root = (folder / str(entry["video"]["root"])).resolve()
            if not root.is_relative_to(folder) and folder.parent not in _places(root):
                raise UserError(
                    f"{folder} has its videos ({name}) in {root}, which it is no cache of; open "
                    "the dataset that holds them"
                )


def _places(path: Path) -> tuple[Path, Path]:
    """Return where the caches of a source may be: beside it, and in the user's cache folder."""
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").resolve()
    return (
        path.parent / f"{path.name}.embodied",
        user / "embodied" / sha256_bytes(os.fsencode(path))[:16],
    )


def _refuse_links(folder: Path) -> None:
    for item in (folder.parent, folder, *folder.rglob("*")):
        if item.is_symlink():
            raise UserError(
                f"{item} is a link, which a cache may not have, as it could be written through; "
                "remove it"
            )


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Wait for other conversions into ``place``, then remove what killed ones left there."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(place, os.O_RDONLY)
    except OSError:
        yield  # the conversion tells why nothing can be written
        return
    try:
        try:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except (ImportError, OSError):  # a system or a file system without locks
            pass
        else:
            for item in place.iterdir():
                if TEMPORARY.fullmatch(item.name) and not item.is_symlink():
                    shutil.rmtree(item, ignore_errors=True)
        yield
    finally:
        os.close(descriptor)


def _converted(path: Path, kind: str) -> Path:
    """Return the native form of a foreign dataset, made now if it is not there yet."""
    path = path.resolve()
    digest = source_digest(path)[:16]
    places = _places(path)
    for place in places:
        _refuse_links(place / digest)
        if (place / digest / "dataset.json").is_file():
            return place / digest
    beside = places[0]
    writable = os.access(beside if beside.exists() else path.parent, os.W_OK)
    place = places[0] if writable else places[1]
    folder = place / digest
    with _alone(place):
        if (folder / "dataset.json").is_file():
            return folder
        for old in sorted({item.parents[1] for item in place.glob("*/labels/*.parquet")}):
            print(f"{path} changed; labels made before stay in {old}", file=sys.stderr)
        try:
            convert_apart(path, kind, folder)
        except UserError:
            # Another process may have been faster; what it made is the same.
            if not (folder / "dataset.json").is_file():
                raise
    return folder
