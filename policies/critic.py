"""State-action values that the algorithms share."""

from __future__ import annotations

import torch

from embodied.engine.networks import Weights, mlp, repeat_members, split_members


def critic_values(
    weights: Weights, observation: torch.Tensor, action: torch.Tensor, critics: int = 2
) -> torch.Tensor:
    """Return every Q(s, a), ``[E, S, B]``, of ``E`` critics per seed."""
    pair = torch.cat([observation, action], -1)
    return split_members(mlp(weights, "critic", repeat_members(pair, critics)), critics)
