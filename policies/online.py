"""Online SAC and PPO by stable-baselines3, exported as the policy packages of the offline learners.

SAC: Haarnoja et al., arXiv:1801.01290 and arXiv:1812.05905. PPO: Schulman et al., arXiv:1707.06347.
stable-baselines3's own checkpoints are pickles: none is written.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from embodied.errors import UserError, at_least

FloatArray = npt.NDArray[np.float32]
# on_step(environment steps so far, (return, success or None) of episodes that ended) -> go on
OnStep = Callable[[int, list[tuple[float, bool | None]]], bool]


def require_stable_baselines3() -> None:
    """Raise UserError where stable-baselines3 is not installed."""
    try:
        import stable_baselines3  # noqa: F401
    except ImportError:
        raise UserError(
            "stable-baselines3 is not installed: pip install 'embodied-stack[sb3]'"
        ) from None


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


@dataclass(frozen=True)
class PPOConfig:
    """Hyper-parameters; steps are summed over the sub-environments."""

    hidden: tuple[int, ...] = (64, 64)  # widths of the hidden layers of actor and value
    batch_size: int = 64  # transitions per gradient step
    learning_rate: float = 3e-4  # Adam
    discount: float = 0.99  # per control step
    gae_lambda: float = 0.95  # of generalised advantage estimation
    clip_range: float = 0.2  # of the ratio of probabilities
    entropy_weight: float = 0.0  # of the entropy bonus
    rollout_steps: int = 2048  # environment steps between two updates
    epochs: int = 10  # passes over those steps in an update
    value_weight: float = 0.5  # of the value function's loss
    max_gradient_norm: float = 0.5  # larger gradients are scaled down to it
    target_kl: float | None = None  # an update stops where the policy has moved 1.5 times as far
    initial_log_std: float = 0.0  # of the policy's normal distribution, actions being in [-1, 1]
    normalise_observation: bool = False  # by the running mean and deviation
    normalise_reward: bool = False  # by the running deviation of the discounted return


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
        return _learn(self.model, self._env, steps, on_step)

    def observation_moments(self) -> None:
        """Return None: observations are not normalised."""

    def actor_weights(self) -> dict[str, FloatArray]:
        """Return the actor's weights as a policy package names them."""
        actor = self.model.actor
        last = [torch.cat([getattr(m, key) for m in (actor.mu, actor.log_std)]) for key in PARTS]
        return _weights(actor.latent_pi, last)


class PPO:
    """Proximal policy optimisation; the arguments are those of ``SAC``.

    An update needs a whole rollout, so training goes on to the end of the last one.
    """

    Config = PPOConfig
    online = True
    head, activation = "clipped", "tanh"

    def __init__(
        self,
        config: PPOConfig,
        env: Any,
        low: FloatArray,
        high: FloatArray,
        seed: int,
        device: str = "cpu",
    ) -> None:
        require_stable_baselines3()
        # Advantages are normalised over a minibatch, which takes two.
        least = ("rollout_steps", "batch_size")
        at_least(2, {f"policy.{key}": getattr(config, key) for key in least})
        at_least(1, {"policy.epochs": config.epochs})
        if not 0.0 <= config.gae_lambda <= 1.0 or config.clip_range <= 0.0:
            raise UserError("policy.gae_lambda must be from 0 to 1, policy.clip_range positive")
        import stable_baselines3

        from policies.vec_env import UnitActionVecEnv, normalised

        self._env = UnitActionVecEnv(env, low, high)
        self._normalised = normalised(
            self._env,
            observation=config.normalise_observation,
            reward=config.normalise_reward,
            discount=config.discount,
        )
        network = {"net_arch": list(config.hidden), "log_std_init": config.initial_log_std}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "You have specified a mini-batch size")
            self.model = stable_baselines3.PPO(
                "MlpPolicy",
                self._normalised,
                learning_rate=config.learning_rate,
                n_steps=-(-config.rollout_steps // env.num_envs),
                batch_size=config.batch_size,
                n_epochs=config.epochs,
                gamma=config.discount,
                gae_lambda=config.gae_lambda,
                clip_range=config.clip_range,
                ent_coef=config.entropy_weight,
                vf_coef=config.value_weight,
                max_grad_norm=config.max_gradient_norm,
                target_kl=config.target_kl,
                policy_kwargs=network,
                seed=seed,
                device=device,
            )

    def learn(self, steps: int, on_step: OnStep) -> int:
        """Learn for at least ``steps`` environment steps or until told to stop; see ``SAC``."""
        return _learn(self.model, self._env, steps, on_step)

    def observation_moments(self) -> tuple[FloatArray, FloatArray] | None:
        """Return mean and deviation [O] that observations are normalised by, None for none."""
        if not self._normalised.norm_obs:
            return None
        seen: Any = self._normalised.obs_rms
        deviation = np.sqrt(seen.var + self._normalised.epsilon)
        return seen.mean.astype(np.float32), deviation.astype(np.float32)

    def actor_weights(self) -> dict[str, FloatArray]:
        """Return the actor's weights as a policy package names them."""
        policy = self.model.policy
        last = [getattr(policy.action_net, key) for key in PARTS]
        weights = _weights(policy.mlp_extractor.policy_net, last)
        return weights | {"actor.log_std": _numbers(policy.log_std)}


PARTS = ("weight", "bias")


def _learn(model: Any, env: Any, steps: int, on_step: OnStep) -> int:
    from stable_baselines3.common.logger import Logger

    def after(local: Any, other: Any) -> bool:
        finished = list(env.finished)
        env.finished.clear()
        return on_step(model.num_timesteps, finished)

    model.set_logger(Logger(folder=None, output_formats=[]))
    model.learn(steps, callback=after)
    return int(model.num_timesteps)


def _weights(hidden: Iterable[Any], last: list[torch.Tensor]) -> dict[str, FloatArray]:
    """Return ``actor.<i>.weight`` [in, out] and ``actor.<i>.bias`` of linear layers in a row."""
    layers = [
        [getattr(item, key) for key in PARTS]
        for item in hidden
        if isinstance(item, torch.nn.Linear)
    ]
    found = {}
    for index, (weight, bias) in enumerate([*layers, last]):
        found[f"actor.{index}.weight"] = _numbers(weight.T)
        found[f"actor.{index}.bias"] = _numbers(bias)
    return found


def _numbers(values: torch.Tensor) -> FloatArray:
    return np.array(values.detach().cpu().numpy(), np.float32, order="C")
