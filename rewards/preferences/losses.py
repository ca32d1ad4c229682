"""Losses of preferences, element-wise, from the difference of two rewards.

``logit`` is ``r(first) - r(second)``, ``preference`` the probability that the first is preferred:
1, 0, or 0.5 for a tie.

Sources: Bradley and Terry 1952; Davidson 1970, "On extending the Bradley-Terry model to accommodate
ties"; Ghosh et al. 2017, "Robust loss functions under label noise" (mean absolute error); Zhang and
Sabuncu 2018, "Generalized cross entropy loss" (arXiv 1805.07836).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.functional import logsigmoid

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
GCE_POWER = 0.7  # the paper's q: 0 is cross entropy, 1 is the mean absolute error


def bradley_terry(logit: torch.Tensor, preference: torch.Tensor) -> torch.Tensor:
    """Return the cross entropy of ``sigmoid(logit)``; a tie pulls it towards one half."""
    return -(preference * logsigmoid(logit) + (1.0 - preference) * logsigmoid(-logit))


def absolute_error(logit: torch.Tensor, preference: torch.Tensor) -> torch.Tensor:
    """Return ``|preference - sigmoid(logit)|``: wrong labels weigh no more than 1 each."""
    return (preference - torch.sigmoid(logit)).abs()


def generalised_cross_entropy(logit: torch.Tensor, preference: torch.Tensor) -> torch.Tensor:
    """Return ``(1 - p^q) / q`` of the preferred side's probability ``p``, ties in halves."""
    first = (1.0 - torch.sigmoid(logit).pow(GCE_POWER)) / GCE_POWER
    second = (1.0 - torch.sigmoid(-logit).pow(GCE_POWER)) / GCE_POWER
    return preference * first + (1.0 - preference) * second


def davidson(logit: torch.Tensor, preference: torch.Tensor, log_tie: torch.Tensor) -> torch.Tensor:
    """Return the negative log-likelihood of Davidson's model, in which ties have a probability.

    With ``d`` the logit, first, second and tie are as likely as ``exp(d / 2)``, ``exp(-d / 2)`` and
    ``nu``; ``log_tie`` is ``log(nu)``.
    """
    half = 0.5 * logit
    total = torch.logsumexp(torch.stack([half, -half, log_tie.expand_as(half)]), 0)
    won = preference * half - (1.0 - preference) * half
    return total - torch.where(preference == 0.5, log_tie.expand_as(half), won)


LOSSES: dict[str, Loss] = {
    "bradley_terry": bradley_terry,
    "absolute_error": absolute_error,
    "generalised_cross_entropy": generalised_cross_entropy,
}
