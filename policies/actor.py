"""The Gaussian actor of IQL and BC: tanh mean, one free log-std per action dimension.

This is a plain diagonal Gaussian around a bounded mean, not a tanh-squashed distribution: its
log-probability is the Gaussian one, and samples are clipped to [-1, 1] (the IQL authors' code).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from embodied.engine.networks import Weights, mlp, orthogonal_mlp

LOG_STD_MIN, LOG_STD_MAX = -5.0, 2.0


def actor_weights(
    observation_size: int,
    action_size: int,
    hidden: Sequence[int],
    generators: Sequence[torch.Generator],
) -> dict[str, torch.Tensor]:
    """Return the initial weights of ``S`` actors."""
    weights = orthogonal_mlp("actor", [observation_size, *hidden, action_size], generators)
    weights["actor.log_std"] = torch.zeros(len(generators), 1, action_size)
    return weights


def log_probability(
    weights: Weights, observation: torch.Tensor, action: torch.Tensor
) -> torch.Tensor:
    """Return log pi(a|s), ``[S, B]``, of actions ``[S, B, A]`` at observations ``[S, B, O]``."""
    mean = torch.tanh(mlp(weights, "actor", observation))
    log_std = weights["actor.log_std"].clamp(LOG_STD_MIN, LOG_STD_MAX)
    z = (action - mean) * torch.exp(-log_std)
    return -(0.5 * z.square() + log_std + 0.5 * math.log(2.0 * math.pi)).sum(-1)
