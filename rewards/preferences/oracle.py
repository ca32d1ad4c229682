"""Preferences of a known reward, exact or as wrong and as silent as a real model was measured.

A noise profile says how often an answer is right, wrong or withheld, by how far apart the two sides
are. The figures are those published for RL-VLM-F's models (Wang et al. 2024, arXiv 2402.03681,
their figure on label accuracy): errors and silence are most common where sides are close.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from embodied.errors import UserError
from embodied.files import sha256_bytes
from rewards.label_records import Answer, canonical
from rewards.preferences.source import PREFERENCES, Comparison, Preference

# Shares of (right, wrong) answers at places between the closest pairs, 0, and the farthest, 1; the
# rest is "unsure". Between the places they are interpolated.
PROFILES: Mapping[str, Sequence[tuple[float, float, float]]] = {
    "exact": ((0.0, 1.0, 0.0),),
    "drawer": ((0.0, 0.42, 0.27), (0.5, 0.57, 0.40), (1.0, 0.80, 0.18)),
    "cartpole": ((0.0, 0.25, 0.15), (0.5, 0.85, 0.05), (1.0, 1.0, 0.0)),
    "cloth": ((0.0, 0.35, 0.15), (1.0, 0.58, 0.02)),
}


class OracleSource:
    """Compares the values that sides are known to have.

    Equal values are a tie. What an answer is depends on the comparison and the seed alone.

    Args:
        gaps: Differences of value of pairs, any number of them: they tell which are close.
        profile: One of ``PROFILES``.
        seed: Of the errors.

    Raises:
        UserError: There is no such profile, or there are no gaps.
    """

    name = "oracle"
    parser = "oracle 1"
    batch = 4096

    def __init__(self, gaps: Sequence[float], profile: str = "exact", seed: int = 0) -> None:
        if profile not in PROFILES:
            raise UserError(f"unknown noise profile {profile!r}; known: {', '.join(PROFILES)}")
        if len(gaps) == 0:
            raise UserError("the oracle needs pairs to tell which are close; give some")
        self.profile, self.seed = profile, seed
        self._edges = np.quantile(np.abs(gaps), np.linspace(0, 1, 11))

    def request(self, comparison: Comparison) -> Mapping[str, Any]:
        """Return the question: both sides' names and values, and the errors' distribution."""
        sides = (comparison.first, comparison.second)
        if any(side.value is None for side in sides):
            raise UserError("the oracle compares known values; label with a reward it can read")
        return {
            "source": self.name,
            "instruction": comparison.instruction,
            "profile": self.profile,
            "seed": self.seed,
            "edges": [round(float(edge), 9) for edge in self._edges],
            "sides": [side.name for side in sides],
            "values": [float(side.value or 0.0) for side in sides],
        }

    def answer(self, comparisons: Sequence[Comparison]) -> list[Answer]:
        """Return what the profile makes of the true preferences."""
        return [Answer(json.dumps(self._one(item)), model=self.profile) for item in comparisons]

    def _one(self, comparison: Comparison) -> dict[str, str]:
        gap = float(comparison.first.value or 0.0) - float(comparison.second.value or 0.0)
        right, wrong = self._shares(abs(gap))
        digest = sha256_bytes(canonical(self.request(comparison)).encode())
        drawn = int(digest[:13], 16) / 16**13
        if gap == 0.0:
            return {"preference": "tie"}
        truth, other = ("first", "second") if gap > 0 else ("second", "first")
        said = truth if drawn < right else other if drawn < right + wrong else "unsure"
        return {"preference": said}

    def _shares(self, gap: float) -> tuple[float, float]:
        """Return the shares of right and of wrong answers to pairs of this gap."""
        edges = self._edges + np.arange(11) * 1e-12  # so that equal ones can be told apart
        place = float(np.interp(gap, edges, np.linspace(0, 1, 11)))
        places, right, wrong = zip(*PROFILES[self.profile], strict=True)
        return float(np.interp(place, places, right)), float(np.interp(place, places, wrong))

    def read(self, raw: str) -> Preference:
        """Return the preference in a raw answer.

        Raises:
            ValueError: There is none.
        """
        return read_preference(raw)


def read_preference(raw: str) -> Preference:
    """Return the preference in the JSON of a source of ours.

    Raises:
        ValueError: There is none.
    """
    try:
        value = json.loads(raw)["preference"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError("no preference in it") from None
    if value not in PREFERENCES:
        raise ValueError("no preference in it")
    return value  # type: ignore[no-any-return]
