"""Converts a foreign dataset into the native form, in a process of its own.

Files of strangers are read by libraries written in C, which a crafted file can make crash or ask
for any amount of memory. So the conversion runs apart, with a limit on its memory (Linux) and on
what it writes, and whatever happens to it ends in one line here.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from embodied.dataset import Episode
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
DISK_SHARE = 0.9  # of the free disk space that a conversion may take
PR_SET_PDEATHSIG = 1  # linux/prctl.h
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
    if path.is_file():
        hdf5.check_declared(path)
    source = SOURCES[kind](path)
    placeholder = DatasetInfo(environment="", action=Field((), "", ""))
    with (
        write_dataset(folder, placeholder, keep_dtypes=True) as writer,
        progress_bar(None, f"read {path.name}", " episodes") as bar,
    ):
        room, count = _room(folder), 0
        for episode in source.episodes():
            room -= _size(path, episode)
            if room < 0:
                raise UserError(
                    f"{path} needs more disk space than is free beside {folder}; free some space, "
                    "or check that the file is not hostile"
                )
            writer.add(episode)
            count += 1
            bar.update(1)
        if not count:
            raise UserError(
                f"{path}: no transitions are left, since every episode is empty or one step whose "
                "next observation was not recorded; record longer ones"
            )
        writer.videos = {
            name: {**entry, "video": {**entry["video"], "root": _relative(path, folder)}}
            for name, entry in source.videos().items()
        }
        writer.info = source.info()


def _room(folder: Path) -> float:
    place = next(item for item in folder.absolute().parents if item.exists())
    return DISK_SHARE * shutil.disk_usage(place).free


def _size(path: Path, episode: Episode) -> int:
    vectors = (episode.observation, episode.action)
    if not all(array.size for array in vectors):
        raise UserError(f"{path} has an observation or action of size 0, which nothing learns from")
    kept = (*vectors, *episode.state.values(), *episode.columns.values())
    return sum(array.nbytes for array in kept)


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
        "path": _import_path(),
        "source": str(path),
        "kind": kind,
        "folder": str(folder),
        "parent": os.getpid(),
    }
    done = subprocess.run(
        # -P, as the current folder may be the one of the strangers' files.
        [sys.executable, "-P", "-c", _CHILD],
        input=json.dumps(given),
        stdout=subprocess.PIPE,
        text=True,
        # Arrow's own allocators reserve memory ahead, which the limit would count. An empty part of
        # PYTHONPATH is the current folder; all that was sound in it is in the path given.
        env={**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system", "PYTHONPATH": ""},
        check=False,
    )
    if done.returncode == 2:
        raise UserError(done.stdout)
    if done.returncode:
        raise UserError(f"reading {path} failed ({_ending(done.returncode)})")


def _import_path() -> list[str]:
    """Return ``sys.path`` without the current folder, unless this package lies there."""
    here, home = Path.cwd(), Path(__file__).resolve().parents[2]
    return [item for item in sys.path if here == home or Path(item).resolve() != here]


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}; its own message is above"
    return f"{signal.Signals(-code).name}; the file is damaged, or {_memory()}"


def _memory() -> str:
    return f"one of its episodes needs more than {MEMORY_BYTES / 2**30:.0f} GiB"


def _die_with(parent: int) -> None:
    """Let this process be killed when the one that started it ends (Linux)."""
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before
        sys.exit(1)


def _child(source: str, kind: str, folder: str, parent: int) -> None:
    if sys.platform == "linux":
        import resource

        _die_with(parent)
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        convert(Path(source), kind, Path(folder))
    except UserError as error:
        reason = str(error)
    except MemoryError:
        reason = f"{source} is damaged, or {_memory()}"
    except Exception as error:  # whatever a stranger's file makes a library or a reader raise
        told = f"{type(error).__name__}: {error}"[:200]
        reason = f"{source} is damaged or not supported ({told}); fetch it again"
    else:
        return
    print(reason)
    sys.exit(2)
