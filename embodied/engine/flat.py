"""Parameters in one flat buffer, so that Adam, Polyak averaging and a checkpoint are one pass each.

Every named tensor is a leaf whose storage, and whose gradient's storage, is a slice of the buffer:
autograd adds into the slices and one fused Adam call then updates everything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch


class FlatParameters:
    """Named parameters in one buffer with one fused Adam.

    Args:
        initial: Name -> tensor; its values are copied.
        learning_rate: Adam's step size, constant unless ``set_learning_rate`` is called.
    """

    def __init__(self, initial: Mapping[str, torch.Tensor], learning_rate: float) -> None:
        size = sum(value.numel() for value in initial.values())
        device = next(iter(initial.values())).device
        self.flat = torch.nn.Parameter(torch.empty(size, device=device))
        self.flat.grad = torch.zeros_like(self.flat)
        self.views: dict[str, torch.Tensor] = {}
        offset = 0
        for name, value in initial.items():
            window = slice(offset, offset + value.numel())
            view = self.flat.data[window].view(value.shape)
            view.copy_(value)
            view.requires_grad_()
            view.grad = self.flat.grad[window].view(value.shape)
            self.views[name] = view
            offset += value.numel()
        self._adam = torch.optim.Adam([self.flat], lr=learning_rate, fused=True)

    def step(self, loss: torch.Tensor) -> None:
        """Take one Adam step down the gradient of ``loss`` with respect to these parameters."""
        assert self.flat.grad is not None
        self.flat.grad.zero_()
        torch.autograd.backward(loss, inputs=list(self.views.values()))
        self._adam.step()

    def set_learning_rate(self, learning_rate: float) -> None:
        """Change Adam's step size from the next step on."""
        self._adam.param_groups[0]["lr"] = learning_rate

    def state_dict(self, prefix: str) -> dict[str, torch.Tensor]:
        """Return the parameters and Adam's moments as tensors."""
        moments = self._adam.state.get(self.flat, {})
        return {f"{prefix}.flat": self.flat.detach().clone()} | {
            f"{prefix}.{key}": torch.as_tensor(value).clone() for key, value in moments.items()
        }

    def load_state_dict(self, state: Mapping[str, torch.Tensor], prefix: str) -> None:
        """Restore what ``state_dict`` gave, bit for bit."""
        self.flat.data.copy_(state[f"{prefix}.flat"])
        moments = {}
        if f"{prefix}.step" in state:  # absent before the first step
            for key in ("step", "exp_avg", "exp_avg_sq"):
                moments[key] = state[f"{prefix}.{key}"].to(self.flat.device, copy=True)
        self._adam.state[self.flat] = moments


class TargetCopy:
    """A slowly following copy of flat parameters: ``target += rate * (source - target)``."""

    def __init__(self, source: FlatParameters) -> None:
        self.flat = source.flat.detach().clone()
        self.views: dict[str, torch.Tensor] = {}
        offset = 0
        for name, value in source.views.items():
            self.views[name] = self.flat[offset : offset + value.numel()].view(value.shape)
            offset += value.numel()

    def follow(self, source: FlatParameters, rate: float) -> None:
        """Polyak averaging."""
        self.flat.lerp_(source.flat.detach(), rate)


def cosine_decay(step: int, total: int) -> float:
    """Return the factor of a cosine schedule from 1 at step 0 to 0 at ``total``."""
    return 0.5 * (1.0 + math.cos(math.pi * min(step / total, 1.0)))
