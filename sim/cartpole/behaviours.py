"""Linear feedback of graded quality, to collect datasets of balanced and fallen poles with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from embodied.errors import UserError
from embodied.types import Array, BoolArray
from sim.arguments import shares_of
from sim.behaviours import RandomBehaviour
from sim.cartpole.task import CartPoleTask

KINDS = ("good", "weak", "wrong", "random")
GOOD, WEAK, WRONG, RANDOM = range(4)
# Actions per unit of each field: the linear-quadratic regulator of the upright pole, for the costs
# 0.1 position^2 + 10 angle^2 + action^2.
FEEDBACK = {
    "cart_position": 0.28,
    "cart_velocity": 0.50,
    "pole_angle": 5.4,
    "pole_angular_velocity": 1.2,
}
# Between which the gain on the feedback is drawn, by kind. Below 0.2 it slows the fall at best.
GAINS = ((0.5, 1.5), (0.05, 0.3), (-1.5, -0.5), (0.0, 0.0))


class CartPoleScripted:
    """Episodes of one linear feedback: each draws its kind, its gain and its amount of noise.

    With the default shares and noise 0.45 of 4000 episodes succeeded; a tenth of the returns were
    above -64, a tenth below -2658.

    Attributes:
        kind: int [N], index into ``KINDS`` of the current episode.

    Args:
        task: CartPole.
        num_envs: Number of environments.
        seed: Seed of everything that is drawn.
        good: Share of episodes with a gain that balances the pole, 0.5 to 1.5.
        weak: Share of episodes with a gain of 0.05 to 0.3: many poles fall late, or sway.
        wrong: Share of episodes with a gain of the wrong sign, which throws the pole over.
        random: Share of episodes with held random actions alone.
        noise: Largest size, as an action, of held random actions that are added to the feedback;
            each episode draws its own between zero and this.

    Raises:
        UserError: The task is another one, the shares are negative or do not sum to one, or the
            noise is negative.
    """

    def __init__(
        self,
        task: CartPoleTask,
        num_envs: int,
        seed: int,
        good: float = 0.35,
        weak: float = 0.35,
        wrong: float = 0.15,
        random: float = 0.15,
        noise: float = 0.5,
    ) -> None:
        if not isinstance(task, CartPoleTask):
            raise UserError(
                "behaviour=cartpole_scripted knows cartpole alone; use behaviour=random"
            )
        self._shares = shares_of(good=good, weak=weak, wrong=wrong, random=random)
        if not 0 <= noise < np.inf:
            raise UserError(f"noise is {noise}; it must be 0 or more (as an action)")
        self._noise_limit = noise
        self._low, self._high = task.action.low, task.action.high
        self._rng = np.random.default_rng(seed)
        self._random = RandomBehaviour(task, num_envs, seed=int(self._rng.integers(2**32)))
        self.kind = np.full(num_envs, RANDOM)
        self._gain, self._noise = np.zeros(num_envs), np.zeros(num_envs)

    def act(
        self, observation: Array, state: Mapping[str, Array], episode_start: BoolArray
    ) -> Array:
        """Return actions float32 [N, 1], clipped to the task's bounds."""
        started = np.asarray(episode_start, dtype=np.bool_)
        if started.any():
            self._begin(started)
        feedback = sum(factor * np.asarray(state[name]) for name, factor in FEEDBACK.items())
        held = self._random.act(observation, state, started)[:, 0]
        action = self._gain * feedback + self._noise * held
        return np.clip(action, self._low, self._high).astype(np.float32)[:, None]

    def _begin(self, started: BoolArray) -> None:
        rows = len(started)
        kind = self._rng.choice(len(KINDS), rows, p=self._shares)
        gain = self._rng.uniform(*np.array(GAINS)[kind].T)
        noise = np.where(kind == RANDOM, 1.0, self._rng.uniform(0, self._noise_limit, rows))
        self.kind = np.where(started, kind, self.kind)
        self._gain = np.where(started, gain, self._gain)
        self._noise = np.where(started, noise, self._noise)
