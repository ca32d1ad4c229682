"""Contrastive preference learning (Hejna et al. 2023, arXiv 2310.13639), for ``S`` seeds at once.

A policy from labelled pairs of segments, without a reward and without a critic. Where people prefer
by regret, the preference for a segment is given by the advantages of its actions, and in maximum
entropy learning an advantage is ``alpha log pi(a|s)``: the likelihood of the preferences is one
of the policy. Behaviour cloning of all segments goes first; then the optimiser begins anew and
the contrastive loss alone is followed.

Differences from the paper: an answer may be anything between the first and the second segment, as
a tie is; the loss is then the mean over both orders, weighted by the answer. Segments may differ in
length from pair to pair. ``discount`` is 1, as in the authors' code. Every learner's weights are
stacked, losses are summed over seeds, and weights start orthogonal. Dropout (0.25 in the authors'
code) is left out, and so is the variant that ranks all segments of a minibatch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import logsigmoid

from embodied.engine.learner import StackedLearner
from embodied.engine.networks import PerSeed, Weights, mlp, orthogonal_mlp
from embodied.engine.pairs import PairBatch
from embodied.engine.program import Metrics
from embodied.errors import UserError

BC_SHARE = 0.4  # of the run that goes to behaviour cloning: the paper's 200k of 500k updates


@dataclass(frozen=True)
class CPLConfig:
    """Hyper-parameters; the defaults are the paper's. A list is one per seed."""

    hidden: tuple[int, ...] = (512, 512)  # widths of the hidden layers
    batch_size: int = 96  # pairs per update and seed
    learning_rate: PerSeed = 1e-4  # Adam
    alpha: PerSeed = 0.1  # temperature: what a log-probability counts in the score
    conservative_bias: PerSeed = 0.5  # lambda: what the worse segment's score counts; 1 is all
    discount: PerSeed = 1.0  # of the steps of a segment, from its first
    bc_steps: int | None = None  # updates of behaviour cloning; null is two fifths of the run


def log_likelihood(actor: Weights, batch: PairBatch) -> torch.Tensor:
    """Return ``log pi(a|s)`` of every step, ``[S, 2, B, L]``, without what is constant.

    The actor is deterministic, as the authors' is, and its likelihood that of a Gaussian of fixed
    width around it: ``-|pi(s) - a|^2``. What a width adds would be a matter of ``alpha``.
    """
    every = batch.observation.flatten(1, -2)
    mean = torch.tanh(mlp(actor, "actor", every)).view_as(batch.action)
    return -(mean - batch.action).square().sum(-1)


def segment_score(
    log_pi: torch.Tensor,
    mask: torch.Tensor,
    alpha: torch.Tensor | float,
    discount: torch.Tensor | float,
) -> torch.Tensor:
    """Return ``sum_t g^t alpha log pi(a_t|s_t)`` of the segments, ``[S, 2, B, L] -> [S, 2, B]``."""
    steps = torch.arange(mask.shape[-1], device=mask.device)
    weight = torch.as_tensor(discount).unsqueeze(-1) ** steps * mask  # [S, B, L]
    return torch.as_tensor(alpha).unsqueeze(-1) * (log_pi * weight.unsqueeze(1)).sum(-1)


def contrastive_loss(
    score: torch.Tensor, preference: torch.Tensor, bias: torch.Tensor | float
) -> tuple[torch.Tensor, Metrics]:
    """Return the conservative contrastive loss ``-log sigmoid(S+ - lambda S-)``, per seed.

    Args:
        score: Of the first and the second segments, ``[S, 2, B]``.
        preference: Probability that the first is preferred, ``[S, B]``. Both orders of a pair
            count by how probable they are, a tie's by one half each.
        bias: lambda in (0, 1]. Below 1 the loss of a likely pair is lower than that of an
            unlikely one with the same difference, which keeps the policy near the data.
    """
    first, second = score.unbind(1)
    loss = -preference * logsigmoid(first - bias * second)
    loss = (loss - (1.0 - preference) * logsigmoid(second - bias * first)).mean(-1)
    # A tie has no order to get right or wrong.
    right = ((first > second) == (preference > 0.5)).to(score.dtype)
    decided = (preference != 0.5).to(score.dtype)
    accuracy = (right * decided).sum(-1) / decided.sum(-1).clamp_min(1.0)
    return loss, {"actor/contrast": loss.detach(), "actor/accuracy": accuracy}


def cloning_loss(log_pi: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, Metrics]:
    """Return ``-log pi(a|s)``, mean over all steps of both segments, per seed ``[S]``."""
    weight = mask.unsqueeze(1)
    loss = -(log_pi * weight).sum((1, 2, 3)) / (2.0 * weight.sum((1, 2, 3)))
    return loss, {"actor/cloning": loss.detach()}


class CPL(StackedLearner):
    """Implements ``embodied.types.Learner``; its data are ``engine.pairs.PairData``.

    The other arguments are those of ``policies.iql.IQL``.

    Raises:
        UserError: More updates of behaviour cloning than updates, or a bias outside (0, 1].
    """

    Config = CPLConfig
    head = "deterministic"
    learns_from = "pairs"  # the stages give it labelled pairs of segments in place of a reward

    def __init__(
        self,
        config: CPLConfig,
        observation_size: int,
        action_size: int,
        seeds: Sequence[int],
        total_steps: int,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        compiled: bool = False,
    ) -> None:
        super().__init__(
            seeds,
            batch_size=config.batch_size,
            total_steps=total_steps,
            device=device,
            dtype=dtype,
            compiled=compiled,
        )
        cloning = config.bc_steps
        self.bc_steps = int(BC_SHARE * total_steps) if cloning is None else cloning
        if not 0 <= self.bc_steps < total_steps:
            raise UserError(
                f"policy.bc_steps is {self.bc_steps} of {total_steps} updates; leave some for the "
                "preferences"
            )
        sizes = [observation_size, *config.hidden, action_size]
        weights = orthogonal_mlp("actor", sizes, self.generators())
        self.actor = self.network("actor", weights, config.learning_rate)
        self.alpha, self.discount = self.per_seed(config.alpha), self.per_seed(config.discount)
        self.bias = self.per_seed(config.conservative_bias)
        if not bool(((self.bias > 0.0) & (self.bias <= 1.0)).all()):
            raise UserError(
                f"policy.conservative_bias is {config.conservative_bias}; it must be above 0 and "
                "at most 1"
            )

    def update_once(self, batch: PairBatch, turn: int) -> Metrics:  # type: ignore[override]
        """Clone the segments or, later, tell them apart. Which, is chosen on the device."""
        self._begin_anew()
        log_pi = log_likelihood(self.actor.views, batch)
        score = segment_score(log_pi, batch.mask, self.alpha, self.discount)
        contrast, metrics = contrastive_loss(score, batch.preference, self.bias)
        cloning, cloning_metrics = cloning_loss(log_pi, batch.mask)
        self.actor.step(torch.where(self._step < self.bc_steps, cloning, contrast).sum())
        return metrics | cloning_metrics

    def _begin_anew(self) -> None:
        """Forget Adam's moments and its count at the first update after behaviour cloning."""
        kept = self._step != self.bc_steps
        for name, item in self.actor.tensors("actor").items():
            if name != "actor.flat":
                item.mul_(kept)
