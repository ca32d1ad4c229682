"""Random numbers as a pure function of (seed, update, stream, position).

A counter-based generator has no state to advance: update 5,000 of seed 3 draws the same numbers on
a CPU and on a GPU, alone or stacked beside other seeds, in one call or in many, and after a resume.
The function is SplitMix64 (Steele, Lea, Flood 2014), which passes BigCrush, on 64-bit counters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed number, SplitMix64's increment
MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
MIX_2 = -7723592293110705685  # 0x94D049BB133111EB
MAX_UPDATES = 2**27  # of one seed; more would repeat the counters of the first
INDEX, NOISE, UNIFORM = range(3)  # streams: minibatches, normal numbers, uniform numbers


def keys(seeds: Sequence[int], device: str | torch.device = "cpu") -> torch.Tensor:
    """Return one well-mixed key per seed, int64 [S]."""
    return _mix(torch.tensor(list(seeds), device=device) * GOLDEN + MIX_2)


def bits(
    key: torch.Tensor, update: torch.Tensor | int, count: int, stream: int = INDEX
) -> torch.Tensor:
    """Return 63 random bits each, int64 [*update.shape, S, count], all of them 0 or more.

    Args:
        key: int64 [S].
        update: Number of the update, or a tensor of them; below ``MAX_UPDATES``.
        count: Numbers per seed; below 2^32.
        stream: What the numbers are for, below 16, so that uses do not share numbers.
    """
    update = torch.as_tensor(update, device=key.device)
    place = torch.arange(count, device=key.device)
    counter = (((update << 4) + stream) << 32)[..., None, None] + place
    return _mix(key[:, None] + counter * GOLDEN) & 0x7FFFFFFFFFFFFFFF


def uniform(
    key: torch.Tensor, update: torch.Tensor | int, shape: Sequence[int], stream: int = UNIFORM
) -> torch.Tensor:
    """Return float32 [S, *shape] in the open interval (0, 1), 23 bits each."""
    drawn = bits(key, update, math.prod(shape), stream) >> 40
    return ((drawn.float() + 0.5) * 2.0**-23).view(-1, *shape)


def normal(
    key: torch.Tensor, update: torch.Tensor | int, shape: Sequence[int], stream: int = NOISE
) -> torch.Tensor:
    """Return standard normal numbers, float32 [S, *shape], by the inverse of the distribution."""
    return math.sqrt(2.0) * torch.erfinv(2.0 * uniform(key, update, shape, stream) - 1.0)


def _mix(z: torch.Tensor) -> torch.Tensor:
    z = (z ^ _shift(z, 30)) * MIX_1
    z = (z ^ _shift(z, 27)) * MIX_2
    return z ^ _shift(z, 31)


def _shift(z: torch.Tensor, places: int) -> torch.Tensor:
    """Shift to the right without the sign: torch's own shift of int64 keeps it."""
    return (z >> places) & ((1 << (64 - places)) - 1)
