"""How right labels and rewards are, where the true reward is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rewards.gate.correlation import rank_correlation
from rewards.preferences.pairs import Pairs, uniform
from rewards.preferences.source import Preference

DECILES = 10
TEST_PAIRS = 10_000


def label_quality(
    pairs: Pairs, said: Sequence[Preference | None], values: npt.NDArray[np.float32]
) -> dict[str, Any]:
    """Return how often labels were right, wrong and withheld, by decile of the true gap.

    Args:
        pairs: Places of both sides [P, 2].
        said: What the source said of each pair.
        values: The true reward of every side.
    """
    gap = values[pairs[:, 0]] - values[pairs[:, 1]]
    truth = np.where(gap > 0, "first", "second")
    word = np.array([item or "none" for item in said])
    decided = np.isin(word, ("first", "second"))
    right = decided & (word == truth) & (gap != 0)
    wrong = decided & (word != truth) & (gap != 0)
    order = np.argsort(np.abs(gap), kind="stable")
    parts = np.array_split(order, DECILES)
    return {
        "label_accuracy": float(right.sum() / max(1, (right | wrong).sum())),
        "labels_by_decile": {
            "gap": [float(np.abs(gap[part]).mean()) if len(part) else 0.0 for part in parts],
            "right": [float(right[part].mean()) if len(part) else 0.0 for part in parts],
            "wrong": [float(wrong[part].mean()) if len(part) else 0.0 for part in parts],
        },
    }


def reward_quality(
    learnt: npt.NDArray[np.float32], values: npt.NDArray[np.float32], seed: int
) -> dict[str, float]:
    """Return how a learnt reward orders fresh pairs of the pool, and its rank correlation."""
    pairs = uniform(np.random.default_rng(seed + 1), len(values), TEST_PAIRS)
    gap = values[pairs[:, 0]] - values[pairs[:, 1]]
    own = learnt[pairs[:, 0]] - learnt[pairs[:, 1]]
    told = gap != 0
    return {
        "true_pair_accuracy": float(((own > 0) == (gap > 0))[told].mean()) if told.any() else 0.0,
        "true_rank_correlation": rank_correlation(learnt, values),
    }
