"""Which pairs to ask about: drawn evenly, or those that an ensemble is least sure of.

Source: Lee et al. 2021, "PEBBLE" (arXiv 2106.05091): of a larger number of random pairs those are
taken in which the members disagree most, or whose mean probability is nearest to one half.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from embodied.errors import UserError, at_least
from embodied.types import FloatArray
from rewards.preferences.source import Images

Pairs = npt.NDArray[np.int64]  # [P, 2], places of the first and of the second side
Members = Callable[[Pairs], FloatArray]  # pairs -> P(first preferred) [E, P]
CHOICES = ("uniform", "disagreement", "entropy")
CANDIDATES = 10  # random pairs for each one that is chosen
HASH_SIDE = 8  # a hash has 64 bits


def uniform(rng: np.random.Generator, sides: int, count: int) -> Pairs:
    """Return ``count`` random pairs of different sides among ``sides`` of them."""
    at_least(2, {"sides": sides})
    first = rng.integers(sides, size=count)
    second = (first + rng.integers(1, sides, size=count)) % sides
    return np.stack([first, second], axis=1)


def choose(
    rng: np.random.Generator,
    sides: int,
    count: int,
    how: str = "uniform",
    members: Members | None = None,
    hashes: npt.NDArray[np.uint64] | None = None,
) -> Pairs:
    """Return up to ``count`` pairs to ask about.

    Args:
        rng: Draws the candidates.
        sides: How many sides there are.
        count: Pairs wanted.
        how: One of ``CHOICES``.
        members: The ensemble, for those that need one.
        hashes: Of every side's picture [sides]; pairs that look the same are left out.

    Raises:
        UserError: An unknown choice, or one that lacks the ensemble.
    """
    if how not in CHOICES:
        raise UserError(f"unknown choice of pairs {how!r}; known: {', '.join(CHOICES)}")
    drawn = uniform(rng, sides, count * (1 if how == "uniform" else CANDIDATES))
    if hashes is not None:
        drawn = drawn[hashes[drawn[:, 0]] != hashes[drawn[:, 1]]]
        if how == "uniform" and len(drawn) < count:  # once more for those that were left out
            more = uniform(rng, sides, count)
            more = more[hashes[more[:, 0]] != hashes[more[:, 1]]]
            drawn = np.concatenate([drawn, more])
    if how == "uniform":
        return drawn[:count]
    if members is None:
        raise UserError(f"choosing pairs by {how} needs a reward model; use uniform at first")
    probability = np.asarray(members(drawn), np.float64)
    doubt = -np.abs(probability.mean(0) - 0.5)
    interest = probability.std(0) if how == "disagreement" else doubt
    return drawn[np.argsort(-interest, kind="stable")[:count]]


def look_hashes(images: Images) -> npt.NDArray[np.uint64]:
    """Return a difference hash [N] of pictures uint8 [N, H, W, 3]: alike pictures share it.

    A picture is shrunk to 8 rows of 9 grey pixels; each bit tells whether a pixel is darker than
    its neighbour by more than rounding.
    """
    grey = images.astype(np.float32).mean(-1)
    rows = np.array_split(np.arange(grey.shape[1]), HASH_SIDE)
    columns = np.array_split(np.arange(grey.shape[2]), HASH_SIDE + 1)
    small = np.stack(
        [np.stack([grey[:, r][:, :, c].mean((1, 2)) for c in columns], -1) for r in rows], 1
    )
    bits = (np.diff(small, axis=2) > 0.5).reshape(len(images), -1)
    weights = np.uint64(1) << np.arange(bits.shape[1], dtype=np.uint64)
    return np.asarray((bits * weights).sum(1, dtype=np.uint64), np.uint64)
