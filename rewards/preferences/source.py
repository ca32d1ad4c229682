"""What is compared, what may be answered, and what a source of preferences is.

A source is a model, a person or a formula that says which of two sides serves an instruction
better. Whatever it is, its raw answers go to the label store before they are read
(``rewards.preferences.labelling``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np
import numpy.typing as npt

from embodied.files import sha256_bytes
from rewards.label_records import Answer

Images = npt.NDArray[np.uint8]
# ``tie``: both sides serve the instruction equally well; ``unsure``: the source cannot tell.
Preference = Literal["first", "second", "tie", "unsure"]
PREFERENCES: tuple[str, ...] = get_args(Preference)


@dataclass(frozen=True)
class Side:
    """One side of a comparison: a state's image, or a clip of several.

    Attributes:
        name: Where it comes from, unique in its data, for example ``"<dataset>:1200"``.
        frames: uint8 [T, H, W, 3] in the order of time; one frame stands for a single state.
            ``T`` is 0 where nothing can be seen.
        value: What is known to be true of it, for a source that reads a known reward; None
            otherwise. Sources that look never see it.
    """

    name: str
    frames: Images
    value: float | None = None

    @cached_property
    def sha256(self) -> str:
        """Hash of the frames' size and pixels."""
        return sha256_bytes(repr(self.frames.shape).encode() + self.frames.tobytes())


@dataclass(frozen=True)
class Comparison:
    """Which of two sides serves the instruction better?"""

    instruction: str
    first: Side
    second: Side


@runtime_checkable
class PreferenceSource(Protocol):
    """Compares sides.

    Attributes:
        name: Short name, for provenance.
        parser: Name and version of what ``read`` does; another version reads stored answers anew.
        batch: How many comparisons it is best given at once; a kill loses at most these.
    """

    name: str
    parser: str
    batch: int

    def request(self, comparison: Comparison) -> Mapping[str, Any]:
        """Return all that the answer depends on, as JSON values: the label store's question.

        Images stand in it by their hash, a model by its name and the hash of its weights.
        """

    def answer(self, comparisons: Sequence[Comparison]) -> Sequence[Answer]:
        """Return the raw answers in order; one that failed has a status other than 200.

        Raises:
            UserError: No further answer can be had: a spend cap, a refused key.
        """

    def read(self, raw: str) -> Preference:
        """Return the preference in a raw answer.

        Raises:
            ValueError: There is none; the reason.
        """
