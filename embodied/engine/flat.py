"""Parameters in one flat buffer, so that Adam, Polyak averaging and a checkpoint are one pass each.

The buffer of ``K`` stacked networks is ``[K, P]``: a row holds all numbers of one network, and
every named tensor is a view of it. Whatever differs between seeds (a learning rate, a norm) is then
a column ``[K, 1]``.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.optim.adam import adam

from embodied.engine.networks import Weights

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8  # Adam's defaults (arXiv 1412.6980)


class FlatParameters:
    """Named parameters ``[K, ...]`` of stacked networks in one buffer with one Adam.

    Adam's direction does not depend on the parameters, so it is computed for a learning rate of 1
    and then scaled row by row: rates may differ between seeds, follow a schedule that lives on the
    device, and be read by a captured CUDA graph.

    Args:
        initial: Name -> tensor ``[K, ...]``; its values are copied.
        learning_rate: Adam's step size, ``[K, 1]``.
    """

    def __init__(self, initial: Weights, learning_rate: torch.Tensor) -> None:
        self.flat = torch.cat([value.detach().flatten(1) for value in initial.values()], 1)
        self.views = _views(self.flat, initial)
        for view in self.views.values():
            view.requires_grad_()
        self.learning_rate = learning_rate
        self._direction = torch.zeros_like(self.flat)
        self._first, self._second = torch.zeros_like(self.flat), torch.zeros_like(self.flat)
        self._count = torch.zeros((), device=self.flat.device)  # steps taken

    def step(self, loss: torch.Tensor, decay: torch.Tensor | float = 1.0) -> None:
        """Take one Adam step of ``decay`` times the learning rate down the gradient of ``loss``."""
        with torch.no_grad():
            direction = (
                self._fused(loss) if not torch.compiler.is_compiling() else self._plain(loss)
            )
            self.flat.addcmul_(direction, self.learning_rate * decay)

    def gradient(self, loss: torch.Tensor) -> torch.Tensor:
        """Return the gradient of ``loss``, ``[K, P]``."""
        found = torch.autograd.grad(loss, list(self.views.values()))
        return torch.cat([item.flatten(1) for item in found], 1)

    def _fused(self, loss: torch.Tensor) -> torch.Tensor:
        """Return Adam's step by the library's kernel: it subtracts the step from zeros."""
        self._direction.zero_()
        # The function, since the optimiser's class refuses to be captured as part of a CUDA graph
        # unless it is only ever run as one.
        adam(
            [self._direction],
            [self.gradient(loss)],
            [self._first],
            [self._second],
            max_exp_avg_sqs=[],
            state_steps=[self._count],
            fused=True,
            amsgrad=False,
            beta1=BETA_1,
            beta2=BETA_2,
            lr=1.0,
            weight_decay=0.0,
            eps=EPSILON,
            maximize=False,
        )
        return self._direction

    def _plain(self, loss: torch.Tensor) -> torch.Tensor:
        """Return the same by the formula, which a compiler makes one kernel of."""
        gradient = self.gradient(loss)
        self._count.add_(1)
        self._first.lerp_(gradient, 1.0 - BETA_1)
        self._second.mul_(BETA_2).addcmul_(gradient, gradient, value=1.0 - BETA_2)
        count = self._count.double()  # in float32, 1 - 0.999^n would lose half its digits at first
        first = self._first / (1.0 - BETA_1**count)
        second = self._second / (1.0 - BETA_2**count)
        return -first / (second.sqrt() + EPSILON)

    def tensors(self, prefix: str) -> dict[str, torch.Tensor]:
        """Return the buffers that a checkpoint needs, themselves and not copies."""
        return {
            f"{prefix}.flat": self.flat,
            f"{prefix}.exp_avg": self._first,
            f"{prefix}.exp_avg_sq": self._second,
            f"{prefix}.step": self._count,
        }


class TargetCopy:
    """A slowly following copy of flat parameters: ``target += rate * (source - target)``."""

    def __init__(self, source: FlatParameters) -> None:
        self.flat = source.flat.clone()
        self.views = _views(self.flat, source.views)

    def follow(self, source: FlatParameters, rate: torch.Tensor | float) -> None:
        """Polyak averaging; ``rate`` may be ``[K, 1]``."""
        self.flat.lerp_(source.flat, rate)


def _views(flat: torch.Tensor, like: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    views, offset = {}, 0
    for name, value in like.items():
        size = value[0].numel()
        views[name] = flat[:, offset : offset + size].view(value.shape)
        offset += size
    return views


def cosine_decay(step: torch.Tensor, total: int) -> torch.Tensor:
    """Return the factor of a cosine schedule from 1 at step 0 to 0 at ``total``."""
    return 0.5 * (1.0 + torch.cos(torch.pi * (step / total).clamp_max(1.0)))
