"""What a person answered about a dataset on the page of ``embodied prefer``."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from embodied.dataset import Dataset
from embodied.errors import UserError
from embodied.preferences import segment_name
from rewards.label_store import LabelStore
from rewards.preferences.person import PersonSource
from rewards.preferences.rlvlmf import Labelled


def answered(
    store: LabelStore, dataset: Dataset, instruction: str, length: int
) -> tuple[npt.NDArray[np.int64], Labelled]:
    """Return the segments that were compared and what was said of them.

    Args:
        store: Where the answers are.
        dataset: Whose segments.
        instruction: What they were compared by.
        length: Transitions of a segment.

    Returns:
        The first transitions of the segments, int64 [K], and pairs of their places with answers; of
        several answers to a pair the last one.

    Raises:
        UserError: There are none.
    """
    source = PersonSource()
    store.parse(source.parser, source.read)
    said = {item.key: item.value for item in store.labels(source.parser)}
    found: dict[tuple[int, int], Any] = {}
    for key, request in store.requests(list(said)).items():
        if request.get("instruction") == instruction and said[key] is not None:
            sides = [_start(dataset, request[side]["name"], length) for side in ("first", "second")]
            if None not in sides:
                found[sides[0], sides[1]] = said[key]  # type: ignore[index]
    if not found:
        raise UserError(
            f"{store.path} holds no answers about segments of {length} steps of {dataset.folder} "
            f"for {instruction!r}; give some: embodied prefer {dataset.folder} length={length}"
        )
    starts, places = np.unique(np.array(list(found), np.int64), return_inverse=True)
    return starts, Labelled(places.reshape(-1, 2), list(found.values()))


def _start(dataset: Dataset, name: str, length: int) -> int | None:
    """Return the first transition of a clip of this dataset and length; None of another."""
    parts = name.split(":")
    if len(parts) != 3 or not parts[1].isdigit():
        return None
    start = int(parts[1])
    fits = name == segment_name(dataset, start, length) and start + length <= len(dataset)
    return start if fits else None
