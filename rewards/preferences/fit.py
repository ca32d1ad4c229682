"""Fit an ensemble of reward networks to preferences.

Source: Lee et al. 2021, "PEBBLE" (arXiv 2106.05091), and RL-VLM-F (Wang et al. 2024, arXiv
2402.03681): Bradley-Terry on the members' rewards of both sides, each member with its own weights
and its own order of the pairs.

Differences from the paper: it stops when 97 % of the labels it learns from are reproduced, which
with wrong labels means to learn them by heart. Here a part of the pairs is held out, and the
weights are kept that explain these best. Rewards are bounded by tanh, so that the logit is their
difference times ``scale``: with a scale of 1 no pair could be surer than 88 %, and pairs that are
easy to tell would press all rewards against the bounds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from embodied.engine.flat import FlatParameters
from embodied.errors import UserError, at_least
from rewards.preferences.losses import LOSSES, davidson
from rewards.preferences.networks import cnn_weights, mlp_weights, rewards

TIES = ("drop", "half", "davidson")
INPUTS_AT_ONCE = 2048


@dataclass(frozen=True)
class FitConfig:
    """How an ensemble is fitted."""

    members: int = 3  # networks
    hidden: tuple[int, ...] = (256, 256)  # widths of an MLP's hidden layers
    learning_rate: float = 3e-4  # Adam
    batch_size: int = 128  # pairs per update and member
    epochs: int = 300  # most passes over the pairs
    patience: int = 10  # passes without a better held-out loss before it ends
    held_out: float = 0.15  # share of the pairs that nothing is learnt from
    ties: str = "drop"  # drop, half (a preference of 0.5), davidson (ties have a probability)
    loss: str = "bradley_terry"  # or absolute_error, generalised_cross_entropy: for wrong labels
    scale: float = 10.0  # of the logit: how sure a difference of 1 between bounded rewards is
    seed: int = 0  # of weights, orders and what is held out


@dataclass(frozen=True)
class Fitted:
    """An ensemble and how well it explains the pairs that were held out."""

    weights: dict[str, torch.Tensor]  # [E, ...]
    pairs: int  # learnt from
    held_out_pairs: int
    held_out_accuracy: float  # of pairs with a preferred side
    train_accuracy: float
    epochs: int
    curve: list[float] = field(default_factory=list)  # held-out loss after every pass


def usable(preference: npt.NDArray[np.float32], ties: str) -> npt.NDArray[np.bool_]:
    """Return which labels [P] are learnt from; NaN stands for none."""
    if ties not in TIES:
        raise UserError(f"unknown ties={ties!r}; known: {', '.join(TIES)}")
    told = np.isfinite(preference)
    return told & (preference != 0.5) if ties == "drop" else told


def fit(
    inputs: torch.Tensor,
    pairs: npt.NDArray[np.int64],
    preference: npt.NDArray[np.float32],
    config: FitConfig,
    progress: Callable[[int], object] = lambda count: None,
    length: int = 1,
) -> Fitted:
    """Fit an ensemble.

    Args:
        inputs: Of every state, those of a side one after another: normalised numbers
            [K * length, F], or pictures uint8 [K * length, 3, H, W].
        pairs: Places of the first and second sides, [P, 2].
        preference: Probability that the first is preferred, [P]; NaN for no label.
        config: See there.
        progress: Told of every pass.
        length: States of a side; its reward is their mean.

    Raises:
        UserError: Too few labels, or an unknown setting.
    """
    at_least(1, {"members": config.members, "epochs": config.epochs})
    if config.loss not in LOSSES:
        raise UserError(f"unknown loss {config.loss!r}; known: {', '.join(LOSSES)}")
    kept = usable(preference, config.ties)
    pairs, preference = pairs[kept], preference[kept]
    rng = np.random.default_rng(config.seed)
    order = rng.permutation(len(pairs))
    held = round(config.held_out * len(pairs))
    if len(pairs) - held < 2 or held < 1:
        raise UserError(f"{len(pairs)} usable labels are too few to learn from; label more pairs")
    run = _Run(inputs, pairs, preference, config, length)
    return run.to_the_end(order[held:], order[:held], rng, progress)


class _Run:
    """One fit: its data, its networks."""

    def __init__(
        self,
        inputs: torch.Tensor,
        pairs: npt.NDArray[np.int64],
        preference: npt.NDArray[np.float32],
        config: FitConfig,
        length: int,
    ) -> None:
        self.inputs, self.config, self.length = inputs, config, length
        self.pairs, self.preference = torch.from_numpy(pairs), torch.from_numpy(preference)
        generators = [
            torch.Generator().manual_seed(config.seed * 1000 + k) for k in range(config.members)
        ]
        if inputs.ndim == 4:
            initial = cnn_weights(generators)
        else:
            initial = mlp_weights(inputs.shape[1], config.hidden, generators)
        if config.ties == "davidson":
            initial["log_tie"] = torch.zeros(config.members, 1)
        rate = torch.full((config.members, 1), config.learning_rate)
        self.network = FlatParameters(initial, rate)

    def to_the_end(
        self,
        learnt: npt.NDArray[np.int64],
        held: npt.NDArray[np.int64],
        rng: np.random.Generator,
        progress: Callable[[int], object],
    ) -> Fitted:
        """Learn until the held-out loss stops falling; keep the best weights."""
        best, chosen, since, curve = float("inf"), self.network.flat.clone(), 0, []
        for _ in range(self.config.epochs):
            orders = np.stack([rng.permutation(learnt) for _ in range(self.config.members)])
            for first in range(0, len(learnt), self.config.batch_size):
                rows = torch.from_numpy(orders[:, first : first + self.config.batch_size])
                self.network.step(self._loss(rows).sum())
            curve.append(self._mean_loss(held))
            progress(1)
            since += 1
            if curve[-1] < best:
                best, since = curve[-1], 0
                chosen.copy_(self.network.flat)
            if since >= self.config.patience:
                break
        self.network.flat.copy_(chosen)
        return Fitted(
            weights={name: item.detach().clone() for name, item in self.network.views.items()},
            pairs=len(learnt),
            held_out_pairs=len(held),
            held_out_accuracy=self._accuracy(held),
            train_accuracy=self._accuracy(learnt),
            epochs=len(curve),
            curve=curve,
        )

    def _logits(self, rows: torch.Tensor) -> torch.Tensor:
        """Return ``r(first) - r(second)``, ``[E, B]``, for rows ``[E, B]`` of each member."""
        members, views = len(rows), self.network.views
        states = self.pairs[rows][..., None] * self.length + torch.arange(self.length)
        if self.inputs.ndim == 4:  # every member sees all states, and its own are picked out
            seen, back = torch.unique(states, return_inverse=True)
            every = rewards(views, prepared(self.inputs[seen]))
            own = every[torch.arange(members)[:, None, None, None], back]
        else:
            own = rewards(views, self.inputs[states.reshape(members, -1)]).view(states.shape)
        own = own.mean(-1)
        return self.config.scale * (own[..., 0] - own[..., 1])

    def _loss(self, rows: torch.Tensor) -> torch.Tensor:
        """Return each member's mean loss ``[E]``."""
        logit, preference = self._logits(rows), self.preference[rows]
        if self.config.ties == "davidson":
            return davidson(logit, preference, self.network.views["log_tie"]).mean(-1)
        return LOSSES[self.config.loss](logit, preference).mean(-1)

    @torch.no_grad()
    def _mean_loss(self, rows: npt.NDArray[np.int64]) -> float:
        every = [self._loss(part).sum(0) * part.shape[1] for part in self._parts(rows)]
        return float(sum(every)) / (len(rows) * self.config.members)

    @torch.no_grad()
    def _accuracy(self, rows: npt.NDArray[np.int64]) -> float:
        """Return how often the ensemble's mean reward agrees with labels that are no ties."""
        right, total = 0, 0
        for part in self._parts(rows):
            wanted = self.preference[part[0]]
            said = self._logits(part).mean(0)
            told = wanted != 0.5
            right += int(((said > 0) == (wanted > 0.5))[told].sum())
            total += int(told.sum())
        return right / max(1, total)

    def _parts(self, rows: npt.NDArray[np.int64]) -> list[torch.Tensor]:
        """Return rows in parts, the same for every member, ``[E, B]``."""
        parts = torch.split(torch.from_numpy(rows), INPUTS_AT_ONCE)
        return [part.expand(self.config.members, -1) for part in parts]


def prepared(pictures: torch.Tensor) -> torch.Tensor:
    """Return pictures uint8 ``[B, 3, H, W]`` as numbers from 0 to 1."""
    return pictures.float() / 255.0
