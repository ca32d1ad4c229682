"""The formats that a dataset can be written in, by the name that ``format=`` takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from embodied.dataset import Episode
from embodied.dataset_json import DatasetInfo
from embodied.dataset_writer import write_dataset
from embodied.errors import UserError
from embodied.formats import lerobot_write, minari_write, robomimic_write

Write = Callable[[Path, DatasetInfo, Iterable[Episode]], None]


def write_native(path: Path, info: DatasetInfo, episodes: Iterable[Episode]) -> None:
    """Write a native dataset, episode by episode, every number in its own type."""
    with write_dataset(path, info, keep_dtypes=True) as opened:
        for episode in episodes:
            opened.add(episode)


WRITERS: Mapping[str, Write] = {
    "native": write_native,
    "minari": minari_write.write,
    "lerobot": lerobot_write.write,
    "robomimic": robomimic_write.write,
}

# The formats in which every transition has a reward.
ASK_FOR_REWARD = ("minari", "robomimic")


def writer(name: str) -> Write:
    """Return the writer of that name.

    Raises:
        UserError: No such format is written; the message lists those that are.
    """
    if name not in WRITERS:
        raise UserError(f"unknown format {name!r}; known: {', '.join(WRITERS)}")
    return WRITERS[name]
