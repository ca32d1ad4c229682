"""MLPs stacked over seeds and ensemble members: one batched product serves them all.

A stack of ``K`` networks has weights ``[K, in, out]`` and maps ``[K, B, in]`` to ``[K, B, out]``.
With ``S`` seeds and ``E`` ensemble members ``K = S * E``, seed-major.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import torch

from embodied.errors import UserError

Weights = Mapping[str, torch.Tensor]
PerSeed = float | tuple[float, ...]  # a hyper-parameter: one for all stacked seeds, or one for each


def orthogonal_mlp(
    name: str, sizes: Sequence[int], generators: Sequence[torch.Generator], members: int = 1
) -> dict[str, torch.Tensor]:
    """Return initial weights of ``S * members`` MLPs, each seed drawn from its own generator.

    Orthogonal with gain sqrt(2) on every layer, the last included, and zero biases, as in the
    IQL authors' code. ``sizes`` is ``[in, hidden..., out]``.
    """
    weights = {}
    for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        stack = torch.empty(len(generators) * members, fan_in, fan_out)
        for index in range(len(stack)):
            torch.nn.init.orthogonal_(
                stack[index], gain=math.sqrt(2.0), generator=generators[index // members]
            )
        weights[f"{name}.{layer}.weight"] = stack
        weights[f"{name}.{layer}.bias"] = torch.zeros(len(stack), 1, fan_out)
    return weights


def mlp(weights: Weights, name: str, x: torch.Tensor) -> torch.Tensor:
    """Apply the stack ``name`` with ReLU between its layers: ``[K, B, in] -> [K, B, out]``."""
    layer = 0
    while f"{name}.{layer}.weight" in weights:
        if layer:
            x = torch.relu_(x)
        weight, bias = weights[f"{name}.{layer}.weight"], weights[f"{name}.{layer}.bias"]
        if weight.shape[-1] == 1:
            # Libraries are slow at products with one column; a sum is several times as fast.
            x = (x * weight.mT).sum(-1, keepdim=True) + bias
        else:
            x = torch.baddbmm(bias, x, weight)
        layer += 1
    return x


def repeat_members(x: torch.Tensor, members: int) -> torch.Tensor:
    """Repeat ``[S, B, F]`` for each ensemble member: ``[S * members, B, F]``, seed-major."""
    return x.repeat_interleave(members, dim=0)


def split_members(x: torch.Tensor, members: int) -> torch.Tensor:
    """Turn ``[S * members, B, 1]`` into ``[members, S, B]``."""
    return x.view(-1, members, x.shape[1]).transpose(0, 1)


def per_seed(
    value: PerSeed,
    seeds: int,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Return a hyper-parameter as ``[S, 1]``: one number for all seeds, or one for each.

    Raises:
        UserError: A list of another length than there are seeds.
    """
    values = [value] * seeds if isinstance(value, float | int) else list(value)
    if len(values) != seeds:
        raise UserError(
            f"a hyper-parameter has {len(values)} values for {seeds} stacked seeds; "
            "give one number, or one per seed"
        )
    return torch.tensor(values, device=device, dtype=dtype)[:, None]
