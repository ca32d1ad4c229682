"""A mixture of scripted episodes of graded quality, in tasks whose actions move the tool."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from embodied.errors import UserError
from embodied.types import Array, BoolArray
from sim.arguments import shares_of
from sim.behaviours import NOISE_MEMORY, RandomBehaviour
from sim.maniskill.scripts import SCRIPTS, Script
from sim.maniskill.task import ManiSkillTask

KINDS = ("true_goal", "wrong_goal", "random")
TRUE_GOAL, WRONG_GOAL, RANDOM = range(3)
GAIN = 1.5  # of an action over the way to go, since the arm covers a part of it in one step


class ManiSkillScripted:
    """Scripted episodes: each draws its kind, its goal and its amount of noise.

    Attributes:
        kind: int [N], index into ``KINDS`` of the current episode.

    Args:
        task: One of ManiSkill's tasks that has a script.
        num_envs: Number of environments.
        seed: Seed of everything that is drawn.
        true_goal: Share of episodes that do the task.
        wrong_goal: Share of episodes that miss the cube or bring it elsewhere.
        random: Share of episodes with held random actions.
        noise: Largest standard deviation, in m per control step, of the correlated noise on the
            tool's motion; each episode draws its own between zero and this.

    Raises:
        UserError: The task has no script, the shares are negative or do not sum to one, or the
            noise is negative.
    """

    def __init__(
        self,
        task: ManiSkillTask,
        num_envs: int,
        seed: int,
        true_goal: float = 0.4,
        wrong_goal: float = 0.4,
        random: float = 0.2,
        noise: float = 0.02,
    ) -> None:
        name = getattr(task, "name", "an environment without fields")
        if name not in SCRIPTS:
            raise UserError(
                f"behaviour=maniskill_scripted knows {' and '.join(SCRIPTS)}, not {name}; use "
                "behaviour=random"
            )
        self._shares = shares_of(true_goal=true_goal, wrong_goal=wrong_goal, random=random)
        if not 0 <= noise < np.inf:
            raise UserError(f"noise is {noise}; it must be 0 or more (m)")
        self._script: Script = SCRIPTS[name]()
        self._noise_limit = noise
        self._low, self._high = np.array(task.action.low), np.array(task.action.high)
        self._rng = np.random.default_rng(seed)
        self._random = RandomBehaviour(task, num_envs, seed=int(self._rng.integers(2**32)))
        self.kind = np.full(num_envs, RANDOM)
        self._plan = np.zeros((num_envs, 0))
        self._size = np.zeros(num_envs)
        self._noise = np.zeros((num_envs, 3))

    def act(
        self, observation: Array, state: Mapping[str, Array], episode_start: BoolArray
    ) -> Array:
        """Return actions float32 [N, 4], clipped to the task's bounds."""
        started = np.asarray(episode_start, dtype=np.bool_)
        if started.any():
            self._begin(state, started)
        wanted = self._script.wanted(state, self._plan)
        way = GAIN * (wanted.tool - np.asarray(state["tool_position"], dtype=np.float64))
        action = np.column_stack((way + self._next_noise(), wanted.fingers))
        held = self._random.act(observation, state, started)
        action = np.where((self.kind == RANDOM)[:, None], held, action)
        return np.clip(action, self._low, self._high).astype(np.float32)

    def _begin(self, state: Mapping[str, Array], started: BoolArray) -> None:
        rows = len(started)
        kind = self._rng.choice(len(KINDS), rows, p=self._shares)
        size = self._rng.uniform(0, self._noise_limit, rows)
        plan = self._script.plan(state, kind == WRONG_GOAL, self._rng)
        if self._plan.shape != plan.shape:
            self._plan = plan
        self.kind = np.where(started, kind, self.kind)
        self._size = np.where(started, size, self._size)
        self._plan = np.where(started[:, None], plan, self._plan)
        self._noise = np.where(started[:, None], 0.0, self._noise)

    def _next_noise(self) -> Array:
        fresh = self._rng.standard_normal(self._noise.shape) * self._size[:, None]
        self._noise = NOISE_MEMORY * self._noise + np.sqrt(1 - NOISE_MEMORY**2) * fresh
        return self._noise
