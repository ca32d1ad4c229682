"""CartPole as a vector environment: every environment at once, on arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from gymnasium.vector import VectorEnv

from embodied.engine import random
from embodied.errors import UserError, at_least
from embodied.types import Array, BoolArray
from sim import infos
from sim.arguments import bounded_actions, declare_spaces, seeds_of
from sim.cartpole import physics
from sim.cartpole.drawing import draw
from sim.cartpole.task import CartPoleTask
from sim.infos import Info

MAX_SEED = 2**63 - 1  # seeds are kept as signed 64-bit numbers


class CartPoleEnv(VectorEnv):
    """``num_envs`` poles on carts.

    Observations are float32 [N, 4], the task's fields in their order; actions [N, 1] are clipped to
    [-1, 1]; the reward is minus the pole's absolute angle in degrees after the step. Episodes end
    by their time limit alone (``truncated``) and are reset in the same step, the last observation
    being ``info["final_obs"][i]``. Infos carry, for the observation that is returned, ``success``
    bool [N] and ``state``, the task's named fields [N]; ``info["final_info"]`` carries the same for
    the last observation.

    The start of an episode is a function of the environment's seed and the episode's number: an
    environment's episodes depend on its seed and actions alone, not on ``num_envs``.

    Args:
        task: The task.
        num_envs: Number of environments, ``N``.
        seed: Seed of the first reset that names none; environment ``i`` gets ``seed + i``.
        max_steps: Control steps of an episode; by default those of the task.

    Raises:
        UserError: A number is not positive.
    """

    def __init__(
        self,
        task: CartPoleTask,
        num_envs: int = 1,
        *,
        seed: int | None = None,
        max_steps: int | None = None,
    ) -> None:
        self.max_steps = task.max_steps if max_steps is None else max_steps
        at_least(1, {"num_envs": num_envs, "max_steps": self.max_steps})
        self.task = task
        self.num_envs = num_envs
        self._first_seed = seed
        self._begun = False
        self._values: physics.Float = np.zeros((num_envs, len(task.fields)))
        self._steady = np.zeros(num_envs, dtype=np.int64)
        self._elapsed = np.zeros(num_envs, dtype=np.int64)
        self._seeds = np.zeros(num_envs, dtype=np.int64)
        self._episode = np.zeros(num_envs, dtype=np.int64)  # number of the next one
        declare_spaces(self, task.action, len(task.fields), task.control_hz)
        self._low = np.array(task.action.low, dtype=np.float32)
        self._high = np.array(task.action.high, dtype=np.float32)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: Info | None = None,
    ) -> tuple[Array, Info]:
        """Start a new episode everywhere.

        Args:
            seed: Environment ``i`` gets ``seed + i``, or its own entry of a sequence; with None it
                goes on with the episodes of the seed it has.
            options: There are none.

        Returns:
            The observation, float32 [N, 4], and the info.

        Raises:
            UserError: A seed is out of range, their number is not ``num_envs``, or options are
                given.
        """
        if options:
            raise UserError(f"reset takes no options here, got {', '.join(map(str, options))}")
        self._seed(seed)
        self._start(np.ones(self.num_envs, dtype=np.bool_))
        return self._report()

    def _seed(self, seed: int | Sequence[int | None] | None) -> None:
        if not self._begun:
            fresh = int(np.random.default_rng().integers(2**62))
            self._take(fresh if self._first_seed is None else self._first_seed)
        self._take(seed)
        self._begun = True

    def _take(self, seed: int | Sequence[int | None] | None) -> None:
        given = seeds_of(seed, self.num_envs)
        named = [item for item in given if item is not None]
        if named and max(named) > MAX_SEED:
            raise UserError(f"the seed {max(named)} is too large; stay below 2^63")
        new = np.array([item is not None for item in given])
        self._seeds[new], self._episode[new] = named, 0

    def _start(self, chosen: BoolArray) -> None:
        """Begin the next episode in the chosen environments, bool [N]."""
        # Environments that were reset together are at the same episode: mostly one pass.
        for number in np.unique(self._episode[chosen]):
            rows = chosen & (self._episode == number)
            keys = random.keys(self._seeds[rows].tolist())
            drawn = random.uniform(keys, int(number), self._values.shape[1:]).numpy()
            self._values[rows] = physics.START * (2.0 * drawn.astype(np.float64) - 1.0)
        self._episode[chosen] += 1
        self._steady[chosen] = 0
        self._elapsed[chosen] = 0

    def _report(self) -> tuple[Array, Info]:
        observation, state = self.task.observe(self._values), self.task.state(self._values)
        return observation, infos.current(state, self.task.success(self._steady))

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, Info]:
        """Take one control step everywhere.

        Args:
            actions: [N, 1], shares of 10 N; clipped to [-1, 1].

        Returns:
            Observation float32 [N, 4], reward float64 [N], terminated and truncated bool [N], info.

        Raises:
            UserError: The actions have another shape or are not finite.
        """
        if not self._begun:
            raise UserError("call reset before the first step")
        action = bounded_actions(actions, self._low, self._high, self.num_envs)
        self._values = physics.step(self._values, physics.FORCE * action[:, 0])
        self._steady = self.task.steady_steps(self._steady, self._values)
        self._elapsed += 1
        reward = self.task.reward(self._values)
        truncated = self._elapsed >= self.max_steps
        final: Info = {}
        if truncated.any():
            observation, info = self._report()
            final = infos.final(observation, info["state"], info["success"], truncated)
            self._start(truncated)
        observation, info = self._report()
        return observation, reward, np.zeros_like(truncated), truncated, info | final

    def get_state(self) -> dict[str, Array]:
        """Return everything that decides the future, as arrays with a first axis of ``N``.

        Raises:
            UserError: There was no reset yet.
        """
        if not self._begun:
            raise UserError("call reset before get_state")
        return {name: values.copy() for name, values in self._deciding().items()}

    def _deciding(self) -> dict[str, Array]:
        return {
            "values": self._values,
            "steady": self._steady,
            "elapsed": self._elapsed,
            "seeds": self._seeds,
            "episode": self._episode,
        }

    def set_state(self, state: Mapping[str, Array]) -> None:
        """Restore what ``get_state`` gave; the same actions then give the same trajectory.

        Raises:
            UserError: The state is of another task or of another number of environments.
        """
        own = self._deciding()
        for name, values in own.items():
            shape = np.shape(state.get(name, ()))
            if shape != values.shape:
                raise UserError(
                    f"the saved state's {name} has the shape {shape}, expected {values.shape}: it "
                    "is of another task or number of environments"
                )
        for name, values in own.items():
            values[:] = state[name]
        self._begun = True

    def render(  # type: ignore[override]
        self, index: int | None = None, width: int = 320, height: int = 240
    ) -> npt.NDArray[np.uint8] | tuple[npt.NDArray[np.uint8], ...]:
        """Return the image uint8 [H, W, 3] of one environment, or of all as a tuple.

        Raises:
            UserError: A size is not positive.
        """
        chosen = slice(None) if index is None else [index]
        images = draw(self._values[chosen], (width, height))
        return tuple(images) if index is None else images[0]
