"""The ensemble's networks, stacked over members: an MLP of numbers, or a CNN of pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from embodied.engine.networks import Weights, mlp, orthogonal_mlp

# RL-VLM-F's CNN (Wang et al. 2024, arXiv 2402.03681): kernel, channels and stride of every layer.
LAYERS = ((5, 16, 3), (3, 32, 2), (3, 64, 2), (3, 128, 2))
POOLED = 2  # rows and columns that are left for the last, linear layer


def mlp_weights(
    size: int, hidden: Sequence[int], generators: Sequence[torch.Generator]
) -> dict[str, torch.Tensor]:
    """Return initial weights of one MLP per generator, ``[E, ...]``."""
    return orthogonal_mlp("reward", [size, *hidden, 1], generators)


def cnn_weights(generators: Sequence[torch.Generator]) -> dict[str, torch.Tensor]:
    """Return initial weights of one CNN per generator, ``[E, ...]``: He's normal, zero biases."""
    members, fan, weights = len(generators), 3, {}
    for index, (kernel, channels, _) in enumerate(LAYERS):
        shape = (channels, fan, kernel, kernel)
        scale = math.sqrt(2.0 / (fan * kernel**2))
        drawn = [torch.randn(shape, generator=item) * scale for item in generators]
        weights[f"conv.{index}.weight"] = torch.stack(drawn)
        weights[f"conv.{index}.bias"] = torch.zeros(members, channels)
        fan = channels
    return weights | orthogonal_mlp("reward", [fan * POOLED**2, 1], generators)


def rewards(weights: Weights, x: torch.Tensor) -> torch.Tensor:
    """Return the members' rewards, bounded by tanh, ``[E, B]``.

    Args:
        weights: Of an MLP or a CNN.
        x: Numbers ``[B, F]``, each member's own numbers ``[E, B, F]``, or pictures
            ``[B, 3, H, W]`` in 0 to 1.
    """
    members = len(weights["reward.0.weight"])
    if x.ndim == 4:
        x = _convolved(weights, x, members)
    elif x.ndim == 2:
        x = x.expand(members, -1, -1)
    return torch.tanh(mlp(weights, "reward", x)).squeeze(-1)


def _convolved(weights: Weights, x: torch.Tensor, members: int) -> torch.Tensor:
    """Return features ``[E, B, F]``; each member is a group of the convolution."""
    x = x.repeat(1, members, 1, 1)
    for index, (_, _, stride) in enumerate(LAYERS):
        weight, bias = weights[f"conv.{index}.weight"], weights[f"conv.{index}.bias"]
        x = torch.nn.functional.conv2d(
            x, weight.flatten(0, 1), bias.flatten(), stride=stride, groups=members
        ).relu()
    x = torch.nn.functional.adaptive_avg_pool2d(x, POOLED)
    return x.reshape(len(x), members, -1).transpose(0, 1)
