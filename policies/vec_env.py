"""A Gymnasium vector environment as one of stable-baselines3's, with actions in [-1, 1].

Only ``policies.sac`` and ``policies.ppo`` import this, since it needs stable-baselines3.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Box
from stable_baselines3.common.vec_env import VecEnv, VecNormalize


class Finished(NamedTuple):
    """An episode that ended."""

    reward: float  # undiscounted sum
    success: bool | None  # None where the environment does not tell


class UnitActionVecEnv(VecEnv):
    """Adapts a ``gymnasium.vector.VectorEnv`` with SAME_STEP autoreset.

    Actions are in [-1, 1] and scaled to the environment's own range: PPO's first policy, a standard
    normal, fits no other range. Time limits are told apart from ends (``TimeLimit.truncated``).

    Args:
        env: The environment; observations are flat.
        low: Bounds [A] of its action, in its own units.
        high: The upper ones.
    """

    def __init__(
        self, env: Any, low: npt.NDArray[np.float32], high: npt.NDArray[np.float32]
    ) -> None:
        self._env, self._low, self._high = env, low, high
        observation = Box(-np.inf, np.inf, env.single_observation_space.shape, np.float32)
        super().__init__(env.num_envs, observation, Box(-1.0, 1.0, low.shape, np.float32))
        self._return = np.zeros(env.num_envs)
        self._action = np.zeros((env.num_envs, *low.shape), np.float32)
        self.finished: list[Finished] = []  # since whoever reads them emptied the list

    def reset(self) -> npt.NDArray[np.float32]:
        """Start every episode afresh; the seeds are those that ``seed`` was given last."""
        observation, _ = self._env.reset(seed=None if None in self._seeds else list(self._seeds))
        self._reset_seeds()
        self._return[:] = 0.0
        return np.array(observation, np.float32)

    def step_async(self, actions: npt.NDArray[np.float32]) -> None:
        """Take the actions [N, A] of the next ``step_wait``."""
        scaled = self._low + (np.asarray(actions) + 1.0) * 0.5 * (self._high - self._low)
        self._action = np.clip(scaled, self._low, self._high, dtype=np.float32)

    def step_wait(self) -> Any:
        """Return observation [N, O], reward [N], done [N] and one info per environment."""
        observation, reward, terminated, truncated, info = self._env.step(self._action)
        done = np.asarray(terminated | truncated)
        self._return += reward
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        success = info.get("final_info", {}).get("success")
        for index in np.flatnonzero(done):
            infos[index] = {
                "terminal_observation": np.array(info["final_obs"][index], np.float32),
                "TimeLimit.truncated": bool(truncated[index] and not terminated[index]),
            }
            told = None if success is None else bool(success[index])
            self.finished.append(Finished(float(self._return[index]), told))
        self._return[done] = 0.0
        # Copies, since an environment may reuse its arrays and PPO writes into the reward.
        return np.array(observation, np.float32), np.array(reward, np.float32), done, infos

    def close(self) -> None:
        """Leave the environment open: whoever made it closes it."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute once per environment; nothing is rendered here."""
        value = None if attr_name == "render_mode" else getattr(self._env, attr_name)
        return [value] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Not supported."""
        raise NotImplementedError("attributes of the environment are not set")

    def env_method(
        self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any
    ) -> list[Any]:
        """Not supported."""
        raise NotImplementedError("methods of single environments are not called")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Return that no wrapper of stable-baselines3's is around any environment."""
        return [False] * self.num_envs


def normalised(
    env: UnitActionVecEnv, *, observation: bool, reward: bool, discount: float
) -> VecNormalize:
    """Return the environment with running normalisation of what is asked for.

    Observations are not clipped, because the packaged policy does not clip them either.

    Args:
        env: The environment.
        observation: By their running mean and deviation.
        reward: By the running deviation of the discounted return.
        discount: Of that return, per step.
    """
    return VecNormalize(
        env, norm_obs=observation, norm_reward=reward, clip_obs=np.inf, gamma=discount
    )
