"""Soft actor-critic by stable-baselines3, exported as the policy packages of the offline learners.

Haarnoja et al., arXiv:1801.01290 and arXiv:1812.05905.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from embodied.errors import at_least
from policies.online import (
    PARTS,
    FloatArray,
    OnStep,
    learn,
    linear_weights,
    require_stable_baselines3,
)


@dataclass(frozen=True)
class SACConfig:
    """Hyper-parameters; steps are summed over the sub-environments."""

    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of actor and critics
    batch_size: int = 256  # transitions per update
    learning_rate: float = 3e-4  # Adam, of actor, critics and entropy weight
    discount: float = 0.99  # per control step
    polyak: float = 0.005  # share of the critics in their targets per update
    buffer_size: int = 1_000_000  # transitions kept
    learning_starts: int = 1000  # environment steps of random actions before the first update
    gradient_steps_per_step: int = 1  # updates per environment step


class SAC:
    """Soft actor-critic.

    Args:
        config: Hyper-parameters.
        env: A ``gymnasium.vector.VectorEnv`` with SAME_STEP autoreset and flat observations; the
            caller closes it.
        low: Bounds [A] of its action, in its own units.
        high: The upper ones.
        seed: Of networks, minibatches, actions and the environment's starts.
        device: ``cpu`` or ``cuda``.

    Raises:
        UserError: stable-baselines3 is missing, or a number is out of its range.
    """

    Config = SACConfig
    online = True
    head, activation = "squashed", "relu"

    def __init__(
        self,
        config: SACConfig,
        env: Any,
        low: FloatArray,
        high: FloatArray,
        seed: int,
        device: str = "cpu",
    ) -> None:
        require_stable_baselines3()
        least = ("buffer_size", "gradient_steps_per_step")
        at_least(1, {f"policy.{key}": getattr(config, key) for key in least})
        at_least(0, {"policy.learning_starts": config.learning_starts})
        import stable_baselines3

        from policies.vec_env import UnitActionVecEnv

        self._env = UnitActionVecEnv(env, low, high)
        self.model = stable_baselines3.SAC(
            "MlpPolicy",
            self._env,
            learning_rate=config.learning_rate,
            buffer_size=config.buffer_size,
            learning_starts=config.learning_starts,
            batch_size=config.batch_size,
            tau=config.polyak,
            gamma=config.discount,
            gradient_steps=config.gradient_steps_per_step * env.num_envs,
            policy_kwargs={"net_arch": list(config.hidden)},
            seed=seed,
            device=device,
        )

    def learn(self, steps: int, on_step: OnStep) -> int:
        """Learn for ``steps`` environment steps or until told to stop; return how many it took."""
        return learn(self.model, self._env, steps, on_step)

    @property
    def stored_rows(self) -> int:
        """Steps of all environments that the replay buffer holds."""
        buffer = self._buffer()
        return int(buffer.buffer_size if buffer.full else buffer.pos)

    def relabel(self, reward: FloatArray) -> None:
        """Replace every stored reward, [rows, N] in the order of time, the newest last.

        Where the buffer has wrapped around, the oldest row stands in its middle.
        """
        buffer = self._buffer()
        rows = (buffer.pos - self.stored_rows + np.arange(self.stored_rows)) % buffer.buffer_size
        buffer.rewards[rows] = reward

    def _buffer(self) -> Any:
        return self.model.replay_buffer

    def restart_critics(self) -> None:
        """Give the critics new weights and a new optimiser; the actor stays as it is."""
        critic, target = self.model.critic, self.model.critic_target
        for layer in critic.modules():
            if isinstance(layer, torch.nn.Linear):
                layer.reset_parameters()
        target.load_state_dict(critic.state_dict())
        critic.optimizer.state.clear()

    def observation_moments(self) -> None:
        """Return None: observations are not normalised."""

    def actor_weights(self) -> dict[str, FloatArray]:
        """Return the actor's weights as a policy package names them."""
        actor = self.model.actor
        last = [torch.cat([getattr(m, key) for m in (actor.mu, actor.log_std)]) for key in PARTS]
        return linear_weights(actor.latent_pi, last)
