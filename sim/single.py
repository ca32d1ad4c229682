"""One environment behind Gymnasium's single-environment interface."""

from __future__ import annotations

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.error import ResetNeeded

from embodied.types import RobotTask
from sim.batched import BatchedMujocoEnv
from sim.infos import Info
from sim.locomotion.task import LocomotionTask


class SingleEnv(gymnasium.Env[npt.NDArray[np.float32], npt.NDArray[np.float32]]):
    """A view of a batched environment with one row, for tools that take single environments.

    With the same seed it runs the same episodes as the first row of any batched environment.

    Args:
        task: The task.
        max_steps: Control steps of an episode; by default those of the task.
        render_mode: ``"rgb_array"`` or None.
    """

    def __init__(
        self,
        task: RobotTask | LocomotionTask,
        *,
        max_steps: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        self._batched = BatchedMujocoEnv(task, 1, threads=1, max_steps=max_steps)
        self.task = task
        self.observation_space = self._batched.single_observation_space
        self.action_space = self._batched.single_action_space
        self.metadata = {
            key: value for key, value in self._batched.metadata.items() if key != "autoreset_mode"
        }
        self.render_mode = render_mode
        # The batched environment resets itself at an episode's end; reset then hands that out.
        self._ended = False
        self._waiting: tuple[npt.NDArray[np.float32], Info] | None = None

    def reset(
        self, *, seed: int | None = None, options: Info | None = None
    ) -> tuple[npt.NDArray[np.float32], Info]:
        """Start an episode; see ``BatchedMujocoEnv.reset``."""
        super().reset(seed=seed)
        self._ended = False
        if seed is None and self._waiting is not None:
            started, self._waiting = self._waiting, None
            return started
        self._waiting = None
        observation, info = self._batched.reset(seed=seed, options=options)
        return observation[0], _first(info)

    def step(
        self, action: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.float32], float, bool, bool, Info]:
        """Take one control step; see ``BatchedMujocoEnv.step``.

        Raises:
            ResetNeeded: The episode has ended.
        """
        if self._ended:
            raise ResetNeeded("the episode has ended; call reset before the next step")
        observation, reward, terminated, truncated, info = self._batched.step(
            np.asarray(action)[None]
        )
        observation = observation[0]
        self._ended = bool(terminated[0] or truncated[0])
        if self._ended:
            own = {key: value for key, value in info.items() if "final" not in key}
            self._waiting = (observation, _first(own))
            observation, info = info["final_obs"][0], info["final_info"]
        return observation, float(reward[0]), bool(terminated[0]), bool(truncated[0]), _first(info)

    def render(self) -> npt.NDArray[np.uint8] | None:
        """Return the camera image uint8 [H, W, 3], or None without a render mode."""
        if self.render_mode is None:
            return None
        image = self._batched.render(0)
        assert isinstance(image, np.ndarray)
        return image

    def close(self) -> None:
        """Free what the environment holds; safe to call twice."""
        self._batched.close()


def _first(info: Info) -> Info:
    """Return the first row of a vector environment's info."""
    return {
        "success": bool(info["success"][0]),
        "state": {name: value[0] for name, value in info["state"].items()},
    }
