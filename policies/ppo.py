"""Proximal policy optimisation by stable-baselines3, exported as a policy package.

Schulman et al., arXiv:1707.06347.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from embodied.errors import UserError, at_least
from policies.online import (
    PARTS,
    FloatArray,
    OnStep,
    learn,
    linear_weights,
    numbers,
    require_stable_baselines3,
)


@dataclass(frozen=True)
class PPOConfig:
    """Hyper-parameters; steps are summed over the sub-environments."""

    hidden: tuple[int, ...] = (64, 64)  # widths of the hidden layers of actor and value
    batch_size: int = 64  # transitions per gradient step
    learning_rate: float = 3e-4  # Adam
    anneal: bool = False  # let the learning rate fall to zero, linearly over the training
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
    exploration_steps: int | None = None  # steps that noise depending on the state lasts; null: one
    normalise_observation: bool = False  # by the running mean and deviation
    normalise_reward: bool = False  # by the running deviation of the discounted return


class PPO:
    """Proximal policy optimisation; the arguments are those of ``SAC``.

    An update needs a whole rollout, so training goes on to the end of the last one. With
    ``exploration_steps`` the noise is a random linear function of the last hidden layer that is
    kept for that many steps (gSDE: Raffin et al., arXiv:2005.05719), which moves a robot where
    fresh noise at every step averages out; ``initial_log_std`` is then that of its coefficients.
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
        _check(config)
        import stable_baselines3

        from policies.vec_env import UnitActionVecEnv, normalised

        self._env = UnitActionVecEnv(env, low, high)
        self._normalised = normalised(
            self._env,
            observation=config.normalise_observation,
            reward=config.normalise_reward,
            discount=config.discount,
        )
        held, rate = config.exploration_steps, config.learning_rate
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "You have specified a mini-batch size")
            self.model = stable_baselines3.PPO(
                "MlpPolicy",
                self._normalised,
                learning_rate=_falling(rate) if config.anneal else rate,
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
                use_sde=held is not None,
                sde_sample_freq=-1 if held is None else held,
                policy_kwargs={
                    "net_arch": list(config.hidden),
                    "log_std_init": config.initial_log_std,
                },
                seed=seed,
                device=device,
            )

    def learn(self, steps: int, on_step: OnStep) -> int:
        """Learn for at least ``steps`` environment steps or until told to stop; see ``SAC``."""
        return learn(self.model, self._env, steps, on_step)

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
        weights = linear_weights(policy.mlp_extractor.policy_net, last)
        log_std: Any = policy.log_std
        if self.model.use_sde:  # it depends on the state: the mean over where the robots are now
            seen = torch.as_tensor(self.model._last_obs, device=self.model.device)
            normal: Any = policy.get_distribution(seen).distribution
            log_std = normal.stddev.mean(0).log()
        return weights | {"actor.log_std": numbers(log_std)}


def _falling(start: float) -> Callable[[float], float]:
    """Return the learning rate as a function of the share of the training that is left."""
    return lambda left: start * max(left, 0.0)


def _check(config: PPOConfig) -> None:
    """Raise UserError where a number is out of its range."""
    # Advantages are normalised over a minibatch, which takes two.
    least = ("rollout_steps", "batch_size")
    at_least(2, {f"policy.{key}": getattr(config, key) for key in least})
    held = 1 if config.exploration_steps is None else config.exploration_steps
    at_least(1, {"policy.epochs": config.epochs, "policy.exploration_steps": held})
    if not 0.0 <= config.gae_lambda <= 1.0 or config.clip_range <= 0.0:
        raise UserError("policy.gae_lambda must be from 0 to 1, policy.clip_range positive")
