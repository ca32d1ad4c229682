"""An environment whose reward is replaced, so that a policy learns online from any reward."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv, VectorWrapper

from embodied.errors import UserError
from embodied.rollout import next_observation
from embodied.stages.learning_reward import LearningReward
from embodied.types import Array, Reward, Transitions


class RewardedEnv(VectorWrapper):
    """A vector environment that pays what a reward gives for each transition.

    The reward sees the named fields before and after the step, those of the episode's last state
    where it ended, and ``success`` after the step as a column; one call scores all environments.
    An environment that keeps its last step as ``transitions``, tensors on the simulator's own
    device, has these scored where they lie.

    Args:
        env: A ``gymnasium.vector.VectorEnv`` with SAME_STEP autoreset and ``state`` in its infos.
        reward: Scores transitions.
    """

    def __init__(self, env: VectorEnv, reward: Reward) -> None:
        super().__init__(env)
        self._reward = reward
        self._observation: Array = None
        self._state: Mapping[str, Array] = {}
        self._sums: dict[str, float] = {}
        self._count = 0

    def reset(self, **kwargs: Any) -> tuple[Array, dict[str, Any]]:
        """Start every episode afresh; the arguments are the environment's."""
        observation, info = self.env.reset(**kwargs)
        self._remember(observation, info)
        return observation, info

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        """Take a step; the reward, float32 [N], is the replaced one.

        Raises:
            UserError: The reward is not finite, or lacks a field.
        """
        observation, _, terminated, truncated, info = self.env.step(actions)
        batch = getattr(self.env, "transitions", None)
        if batch is None:
            batch = self._transitions(actions, observation, terminated, truncated, info)
        score = self._reward.score(batch)
        if isinstance(self._reward, LearningReward):
            self._reward.observe(batch)
        for name, values in {"total": score.total, **score.terms}.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(values.sum())
        self._count += len(batch)
        self._remember(observation, info)
        return observation, _numpy(score.total), terminated, truncated, info

    def _transitions(
        self, actions: Array, observation: Array, terminated: Array, truncated: Array, info: Any
    ) -> Transitions:
        """Return the step that was taken, [N]."""
        ended = terminated | truncated
        state, success = info["state"], info["success"]
        if ended.any():
            final = info["final_info"]
            state = {
                name: np.where(_like(ended, values), final["state"][name], values)
                for name, values in state.items()
            }
            success = np.where(ended, final["success"], success)
        return Transitions(
            observation=self._observation,
            action=np.asarray(actions, np.float32),
            next_observation=next_observation(observation, info, ended),
            terminated=terminated,
            truncated=truncated,
            state=self._state,
            next_state=state,
            columns={"success": success},
        )

    def _remember(self, observation: Array, info: Mapping[str, Any]) -> None:
        if "state" not in info:
            raise UserError(
                "this environment tells no named fields, which a reward reads; leave reward= out"
            )
        # Copies, since an environment may reuse its arrays.
        self._observation = np.array(observation, np.float32)
        self._state = {name: np.array(values) for name, values in info["state"].items()}

    def term_means(self) -> dict[str, float]:
        """Return the mean per step of the total and of each term since the last call."""
        means = {name: value / self._count for name, value in self._sums.items()}
        self._sums, self._count = {}, 0
        return means


def _like(flags: Array, values: Array) -> Array:
    """Return flags [N] with axes for the other axes of values [N, ...]."""
    return flags.reshape(-1, *[1] * (values.ndim - 1))


def _numpy(values: Array) -> Array:
    """Return an array, or a tensor of any device, as a NumPy array."""
    return np.asarray(values.cpu() if hasattr(values, "cpu") else values)
