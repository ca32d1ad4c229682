"""The actors: IQL's and BC's Gaussian around a bounded mean, and SAC's tanh-squashed Gaussian.

The first is a plain diagonal Gaussian with one free log-std per action dimension: its
log-probability is the Gaussian one, and samples are clipped to [-1, 1] (the IQL authors' code). The
second squashes a Gaussian sample through tanh and has a log-std that depends on the state (Haarnoja
et al. 2018, arXiv 1801.01290, appendix C).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from embodied.engine.networks import Weights, mlp, orthogonal_mlp

LOG_STD_MIN, LOG_STD_MAX = -5.0, 2.0
SQUASHED_LOG_STD_MIN, SQUASHED_LOG_STD_MAX = -20.0, 2.0


def actor_weights(
    observation_size: int,
    action_size: int,
    hidden: Sequence[int],
    generators: Sequence[torch.Generator],
) -> dict[str, torch.Tensor]:
    """Return the initial weights of ``S`` Gaussian actors."""
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


def squashed_sample(
    weights: Weights, observation: torch.Tensor, noise: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return actions in (-1, 1) and their log-probability under the tanh-squashed Gaussian.

    Args:
        weights: Actors whose last layer gives mean and log-std, ``2 A`` numbers.
        observation: ``[S, B, O]``.
        noise: Standard normal numbers ``[S, B, n, A]``: ``n`` samples at every observation.

    Returns:
        Actions ``[S, B, n, A]`` and log pi(a|s) ``[S, B, n]``.
    """
    mean, log_std = mlp(weights, "actor", observation).unsqueeze(2).chunk(2, -1)
    log_std = log_std.clamp(SQUASHED_LOG_STD_MIN, SQUASHED_LOG_STD_MAX)
    raw = mean + log_std.exp() * noise
    gaussian = -0.5 * noise.square() - log_std - 0.5 * math.log(2.0 * math.pi)
    # log(1 - tanh(x)^2), in a form that does not overflow.
    squash = 2.0 * (math.log(2.0) - raw - torch.nn.functional.softplus(-2.0 * raw))
    return torch.tanh(raw), (gaussian - squash).sum(-1)
