"""Behaviours of graded quality, from random to expert, to collect datasets with.

A dataset of one clean expert is learnt by imitation alone and shows nothing of a reward. A mixture
in which most episodes go somewhere else, each with its own amount of noise, holds the parts of the
task without the answer: the success rate is chosen by the shares of the kinds.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from embodied.errors import UserError
from embodied.types import Array, BoolArray, Task
from sim import grasping, motions, so101
from sim.arguments import shares_of
from sim.scripts import Begin, Wanted, script_of

Float = npt.NDArray[np.float64]

KINDS = ("true_goal", "wrong_goal", "waypoints", "random")
TRUE_GOAL, WRONG_GOAL, WAYPOINTS, RANDOM = range(4)

HOLD = (2, 9)  # control steps for which a random action is held
NOISE_MEMORY = 0.8  # correlation of the noise from one control step to the next


class RandomBehaviour:
    """Random actions, each held for a few control steps.

    Args:
        task: The task; its action bounds are those of the actions.
        num_envs: Number of environments.
        seed: Seed of everything that is drawn.
    """

    def __init__(self, task: Task, num_envs: int, seed: int) -> None:
        assert task.action.low is not None
        assert task.action.high is not None
        self._low, self._high = np.array(task.action.low), np.array(task.action.high)
        self._rng = np.random.default_rng(seed)
        self._action = np.zeros((num_envs, len(self._low)))
        self._left = np.zeros(num_envs, dtype=np.int64)

    def act(
        self, observation: Array, state: Mapping[str, Array], episode_start: BoolArray
    ) -> Array:
        """Return actions float32 [N, A]."""
        fresh = self._rng.uniform(self._low, self._high, self._action.shape)
        hold = self._rng.integers(*HOLD, len(self._left))
        again = episode_start | (self._left == 0)
        self._action = np.where(again[:, None], fresh, self._action)
        self._left = np.where(again, hold, self._left) - 1
        return self._action.astype(np.float32)


class ScriptedBehaviour:
    """A mixture of scripted episodes: each draws its kind, its goal and its amount of noise.

    Attributes:
        kind: int [N], index into ``KINDS`` of the current episode.

    Args:
        task: A task on the SO-101 arm.
        num_envs: Number of environments.
        seed: Seed of everything that is drawn.
        true_goal: Share of episodes that go for the task's target.
        wrong_goal: Share of episodes that do the same for a goal drawn anew: another target, which
            lies near the task's own by chance in about one of ten; a grasp beside the cube, a lift
            that ends too low, or a cube that is set down beside the other.
        waypoints: Share of episodes that wander between random points.
        random: Share of episodes with held random actions.
        noise: Largest standard deviation, in rad per control step, of the correlated noise on the
            actions; each episode draws its own between zero and this.

    Raises:
        UserError: The task has no script, the shares are negative or do not sum to one, or the
            noise is negative.
    """

    def __init__(
        self,
        task: Task,
        num_envs: int,
        seed: int,
        true_goal: float = 0.25,
        wrong_goal: float = 0.45,
        waypoints: float = 0.20,
        random: float = 0.10,
        noise: float = 0.045,
    ) -> None:
        self._script = script_of(task)
        self._shares = shares_of(
            true_goal=true_goal, wrong_goal=wrong_goal, waypoints=waypoints, random=random
        )
        if not 0 <= noise < np.inf:
            raise UserError(f"noise is {noise}; it must be 0 or more (rad)")
        self._rows, self._noise_limit = num_envs, noise
        self._rng = np.random.default_rng(seed)
        self._random = RandomBehaviour(task, num_envs, seed=int(self._rng.integers(2**32)))
        self.kind = np.zeros(num_envs, dtype=np.int64)
        self._plan: Float | None = None
        self._waypoint = np.zeros((num_envs, 3))
        self._waypoint_gripper = np.zeros(num_envs)
        self._size = np.zeros(num_envs)
        self._noise = np.zeros((num_envs, len(so101.JOINTS)))

    def act(
        self, observation: Array, state: Mapping[str, Array], episode_start: BoolArray
    ) -> Array:
        """Return actions float32 [N, A], clipped to the task's bounds."""
        started = np.asarray(episode_start, dtype=np.bool_)
        if started.any():
            self._begin(state, started)
        joint_target = np.asarray(state["joint_target"], dtype=np.float64)
        tip = self._script.arm.tip_position(joint_target)
        self._wander(tip)
        wanted = self._wanted(tip, state)
        point = motions.step_towards(tip, wanted.tip)
        action = motions.joint_change(self._script.arm, joint_target, point, wanted.gripper)
        action += self._next_noise() * np.asarray(wanted.noise)[..., None]
        held = self._random.act(observation, state, started)
        action = np.where((self.kind == RANDOM)[:, None], held, action)
        return np.clip(action, -so101.ACTION_LIMIT, so101.ACTION_LIMIT).astype(np.float32)

    def _wanted(self, tip: Float, state: Mapping[str, Array]) -> Wanted:
        """Return what the script wants, or the waypoint where an episode wanders."""
        assert self._plan is not None, "act is first called at the start of all episodes"
        point, gripper, noise = self._script.wanted(state, tip, self._plan)
        wander = self.kind == WAYPOINTS
        if gripper is not None:
            gripper = np.where(wander, self._waypoint_gripper, gripper)
        point = np.where(wander[:, None], self._waypoint, point)
        return Wanted(point, gripper, np.where(wander, 1.0, noise))

    def _begin(self, state: Mapping[str, Array], started: BoolArray) -> None:
        rows = self._rows
        kind = self._rng.choice(len(KINDS), rows, p=self._shares)
        size = self._rng.uniform(0, self._noise_limit, rows)
        points, gripper = self._points()
        plan = self._script.plan(Begin(state, points, kind != TRUE_GOAL, self._rng))
        self.kind = np.where(started, kind, self.kind)
        self._size = np.where(started, size, self._size)
        old = plan if self._plan is None else self._plan
        self._plan = np.where(started[:, None], plan, old)
        self._waypoint = np.where(started[:, None], points, self._waypoint)
        self._waypoint_gripper = np.where(started, gripper, self._waypoint_gripper)
        self._noise = np.where(started[:, None], 0.0, self._noise)

    def _points(self) -> tuple[Float, Float]:
        """Draw points [N, 3] from where the task draws its own goals, and gripper angles [N]."""
        radius = self._rng.uniform(*so101.RADIUS, self._rows)
        azimuth = self._rng.uniform(-so101.AZIMUTH, so101.AZIMUTH, self._rows)
        x, y = so101.polar(radius, azimuth)
        points = np.stack((x, y, self._rng.uniform(*self._script.heights, self._rows)), axis=1)
        if not self._script.grasps:
            return points, np.zeros(self._rows)
        return points, self._rng.uniform(0.0, grasping.OPEN, self._rows)

    def _wander(self, tip: Float) -> None:
        """Draw the next waypoint where one is reached."""
        near = so101.norm(tip - self._waypoint) < motions.STEP / 2
        reached = (self.kind == WAYPOINTS) & near
        if reached.any():
            points, gripper = self._points()
            self._waypoint = np.where(reached[:, None], points, self._waypoint)
            self._waypoint_gripper = np.where(reached, gripper, self._waypoint_gripper)

    def _next_noise(self) -> Float:
        fresh = self._rng.standard_normal(self._noise.shape) * self._size[:, None]
        self._noise = NOISE_MEMORY * self._noise + np.sqrt(1 - NOISE_MEMORY**2) * fresh
        return self._noise
