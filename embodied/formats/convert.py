"""Converts a foreign dataset into the native form, in a process of its own.

Files of strangers are read by libraries written in C, which a crafted file can make crash or ask
for any amount of memory. So the conversion runs apart, with a limit on its memory (Linux), and
whatever happens to it ends in one line here.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from embodied.dataset_json import DatasetInfo
from embodied.dataset_writer import write_dataset
from embodied.errors import UserError
from embodied.formats import hdf5
from embodied.formats.d4rl_read import D4RLSource
from embodied.formats.lerobot_read import LeRobotSource
from embodied.formats.minari_read import MinariSource
from embodied.formats.robomimic_read import RobomimicSource
from embodied.formats.source import Source
from embodied.progress import progress_bar
from embodied.types import Field

MEMORY_BYTES = 6 * 2**30  # of the converting process; an episode may take 1 GiB as it is stored
SOURCES: Mapping[str, Callable[[Path], Source]] = {
    "d4rl": D4RLSource,
    "lerobot": LeRobotSource,
    "minari": MinariSource,
    "robomimic": RobomimicSource,
}
_CHILD = (
    "import json, sys; given = json.load(sys.stdin); sys.path[:] = given.pop('path'); "
    "from embodied.formats.convert import _child; _child(**given)"
)


def format_of(path: Path) -> str | None:
    """Return the foreign format that the files at ``path`` have, or None for another folder.

    Raises:
        UserError: A file of a format that is not read.
    """
    if (path / "meta" / "info.json").is_file():
        return "lerobot"
    if (path / "metadata.json").is_file() or (path / "data" / "metadata.json").is_file():
        return "minari"
    if not path.is_file():
        return None
    with path.open("rb") as stream:
        is_hdf5 = stream.read(8) == b"\x89HDF\r\n\x1a\n"
    members = set()
    if is_hdf5:
        with hdf5.open_hdf5(path) as file:
            members = set(file)
    if "observations" in members:
        return "d4rl"
    if "data" in members:
        return "robomimic"
    raise UserError(
        f"{path} is no dataset that is read; known: a native folder, Minari (its folder), LeRobot "
        "v2.1 and v3.0 (its folder), and HDF5 files of D4RL and robomimic"
    )


def convert(path: Path, kind: str, folder: Path) -> None:
    """Write the native form of a foreign dataset to ``folder``, in this process.

    Raises:
        UserError: The files are damaged, hostile, or of a kind that is not read.
    """
    source = SOURCES[kind](path)
    placeholder = DatasetInfo(environment="", action=Field((), "", ""))
    with (
        write_dataset(folder, placeholder, keep_dtypes=True) as writer,
        progress_bar(None, f"read {path.name}", " episodes") as bar,
    ):
        for episode in source.episodes():
            writer.add(episode)
            bar.update(1)
        writer.videos = {
            name: {**entry, "video": {**entry["video"], "root": _relative(path, folder)}}
            for name, entry in source.videos().items()
        }
        writer.info = source.info()


def _relative(path: Path, folder: Path) -> str:
    """Return where the videos are, seen from the cache: both can be moved together."""
    beside = folder.is_relative_to(path.parent)
    return os.path.relpath(path, folder) if beside else str(path)


def convert_apart(path: Path, kind: str, folder: Path) -> None:
    """Convert in a process of its own, with bounded memory; see ``convert``.

    Raises:
        UserError: As ``convert``, or the process died.
    """
    given = {
        "path": sys.path,
        "source": str(path),
        "kind": kind,
        "folder": str(folder),
    }
    done = subprocess.run(
        [sys.executable, "-c", _CHILD],
        input=json.dumps(given),
        stdout=subprocess.PIPE,
        text=True,
        # Arrow's own allocators reserve memory ahead, which the limit would count.
        env={**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system"},
        check=False,
    )
    if done.returncode == 2:
        raise UserError(done.stdout)
    if done.returncode:
        raise UserError(
            f"reading {path} failed ({_ending(done.returncode)}); the file is damaged, or one of "
            f"its episodes needs more than {MEMORY_BYTES / 2**30:.0f} GiB"
        )


def _ending(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _child(source: str, kind: str, folder: str) -> None:
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        convert(Path(source), kind, Path(folder))
    except UserError as error:
        print(error)
        sys.exit(2)
