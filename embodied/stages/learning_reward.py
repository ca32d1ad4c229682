"""A reward that is itself learnt while a policy learns from it, and what it does to the policy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from embodied.errors import UserError
from embodied.types import Array, Reward, Transitions


@runtime_checkable
class LearningReward(Reward, Protocol):
    """A reward that sees every step and changes now and then."""

    def fresh(self, seed: int) -> LearningReward:
        """Return one that has seen and learnt nothing, for one training seed."""

    def observe(self, batch: Transitions) -> None:
        """Take one step of every environment, [N] rows, in order."""

    def advance(self, steps: int) -> bool:
        """Learn if that is due after so many environment steps; return whether it changed."""

    @property
    def first_change(self) -> bool:
        """Whether the last change ended a phase in which the reward was of another kind."""

    def rescored(self, rows: int) -> Array:
        """Return what it gives now for the last ``rows`` steps but the very last one.

        float32 [rows, N] in the order of time.
        """

    def save(self, folder: Path) -> None:
        """Keep what it has learnt."""


def following(
    reward: Reward | None, learner: Any, on_step: Callable[[int, Any], bool]
) -> Callable[[int, Any], bool]:
    """Return ``on_step`` that also lets a learning reward learn and relabels what is stored.

    All of the replay buffer is relabelled whenever the reward changes. Where its kind changed, what
    the critics know is of no use and they start again (Lee et al. 2021, "PEBBLE").

    Raises:
        UserError: The policy keeps nothing that could be relabelled.
    """
    if not isinstance(reward, LearningReward):
        return on_step
    if not hasattr(learner, "relabel"):
        raise UserError("a reward that is learnt online needs policy=sac, whose past is relabelled")

    late = False

    def step(steps: int, finished: Any) -> bool:
        nonlocal late
        changed = reward.advance(steps)
        # The step that has just been taken is stored after this call, with the reward that it was
        # paid: it is put right by the next one.
        if changed or late:
            learner.relabel(reward.rescored(learner.stored_rows))
        if changed and reward.first_change:
            learner.restart_critics()
        late = changed
        return on_step(steps, finished)

    return step
