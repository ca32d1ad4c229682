"""A behaviour that learns while it acts: what it did is a replay buffer as a dataset.

Offline algorithms are judged on "replay" data of an online run, all the way from random actions to
a half-trained policy (Fu et al., "D4RL", arXiv:2004.07219). The online run here is SAC (Haarnoja et
al., arXiv:1801.01290 and arXiv:1812.05905) by stable-baselines3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from embodied.engine.devices import check_device
from embodied.errors import at_least
from embodied.types import Array, BoolArray, Field, Transitions
from policies.online import require_stable_baselines3

HIDDEN = [256, 256]
LEARNING_RATE = 3e-4
BATCH_SIZE = 256


class HasAction(Protocol):
    """Whatever documents its action: a task, or what stands for one."""

    @property
    def action(self) -> Field:
        """The action, with finite bounds."""
        ...


class SACReplayBehaviour:
    """Random actions first, then those that SAC samples while it learns from what they did.

    Deterministic for a seed on one machine and number of threads, as long as nothing else draws
    from the global generators of torch and NumPy, which stable-baselines3 uses.

    Args:
        task: Its action bounds are those of the actions.
        num_envs: Number of environments.
        seed: Seed of the networks, the minibatches and the actions.
        learning_starts: Environment steps, summed over the environments, of random actions before
            the first update.
        gradient_steps_per_step: Updates per environment step.
        device: ``cpu`` or ``cuda``.
        threads: CPU threads of torch; every core when None.

    Raises:
        UserError: stable-baselines3 is missing, or a setting cannot work.
    """

    def __init__(
        self,
        task: HasAction,
        num_envs: int,
        seed: int,
        *,
        learning_starts: int = 1000,
        gradient_steps_per_step: int = 1,
        device: str = "cpu",
        threads: int | None = None,
    ) -> None:
        at_least(0, {"behaviour.learning_starts": learning_starts})
        at_least(
            1,
            {
                "behaviour.gradient_steps_per_step": gradient_steps_per_step,
                "behaviour.threads": threads,
            },
        )
        check_device(device)
        require_stable_baselines3()
        torch.set_num_threads(threads or torch.get_num_threads())
        self._low = np.asarray(task.action.low, np.float32)
        self._high = np.asarray(task.action.high, np.float32)
        self._num_envs, self._seed, self._device = num_envs, seed, device
        self._learning_starts = learning_starts
        self._updates = gradient_steps_per_step * num_envs
        self._rng = np.random.default_rng(seed)
        self._steps = 0  # environment steps learnt from, summed over the environments
        self._model: Any = None  # made once the size of an observation is known

    def act(
        self, observation: Array, state: Mapping[str, Array], episode_start: BoolArray
    ) -> npt.NDArray[np.float32]:
        """Return actions float32 [N, A]."""
        if self._model is None:
            self._model = self._make(observation.shape[1])
        if self._steps < self._learning_starts:
            shape = (self._num_envs, len(self._low))
            action = self._rng.uniform(self._low, self._high, shape)
        else:
            action, _ = self._model.predict(np.asarray(observation, np.float32))
        clipped: npt.NDArray[np.float32] = np.clip(action, self._low, self._high, dtype=np.float32)
        return clipped

    def observe(self, batch: Transitions) -> None:
        """Keep what one step of every environment did, [N] rows, and learn."""
        assert batch.reward is not None
        # A time limit is no end: stable-baselines3 bootstraps where this key is set.
        cut = batch.truncated & ~batch.terminated
        self._model.replay_buffer.add(
            batch.observation,
            batch.next_observation,
            self._model.policy.scale_action(batch.action),
            batch.reward,
            batch.terminated | batch.truncated,
            [{"TimeLimit.truncated": bool(item)} for item in cut],
        )
        self._steps += len(batch)
        if self._steps > self._learning_starts:
            self._model.train(self._updates, BATCH_SIZE)

    def _make(self, observation_size: int) -> Any:
        """Return an SAC that acts and learns when it is told to, without an environment."""
        from gymnasium.spaces import Box
        from stable_baselines3 import SAC
        from stable_baselines3.common.logger import Logger

        no_env: Any = None
        model = SAC(
            "MlpPolicy",
            no_env,
            learning_rate=LEARNING_RATE,
            batch_size=BATCH_SIZE,
            target_entropy=-float(len(self._low)),
            policy_kwargs={"net_arch": HIDDEN},
            device=self._device,
            seed=self._seed,
            _init_setup_model=False,
        )
        model.observation_space = Box(-np.inf, np.inf, (observation_size,), np.float32)
        model.action_space = Box(self._low, self._high, dtype=np.float32)
        model.n_envs = self._num_envs
        model._setup_model()
        model.set_logger(Logger(folder=None, output_formats=[]))
        return model
