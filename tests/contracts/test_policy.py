"""What every policy keeps to. To hold yours to it, add a line to ``POLICIES``."""

import numpy as np
import pytest

from embodied.engine.data import Normaliser
from embodied.types import Policy
from policies.bc import BC, BCConfig
from policies.heads import outputs_per_action
from policies.iql import IQL, IQLConfig
from policies.package import load_package, make, save
from sim.single import SingleEnv
from sim.tasks.push import PushTask

DESCRIPTION = {
    "control_hz": 10.0,
    "environment": {"name": "push"},
    "seed": 0,
    "steps": 10,
    "instruction": None,
    "action": {"unit": "rad"},
    "data": "0" * 64,
    "reward": {"kind": "constant"},
}


def packaged(algorithm, config, env, folder):
    """An untrained actor for the environment, through a package on disk."""
    size, space = env.observation_space.shape[0], env.action_space
    learner = algorithm(config, size, space.shape[0], [0], 10)
    actor = {key: value[0].numpy() for key, value in learner.actor_weights().items()}
    identity = (np.zeros(size), np.ones(size), space.low, space.high)
    normaliser = Normaliser(*(np.asarray(item, np.float32) for item in identity))
    save(folder / "0", make(actor, normaliser, {**DESCRIPTION, "algorithm": "test"}))
    return load_package(folder / "0")


def headed(head, env, folder):
    """Random weights behind a head, through a package on disk."""
    size, space, rng = env.observation_space.shape[0], env.action_space, np.random.default_rng(0)
    outputs = space.shape[0] * outputs_per_action(head)
    actor = {
        "actor.0.weight": rng.normal(0, 0.1, (size, outputs)).astype(np.float32),
        "actor.0.bias": np.zeros(outputs, np.float32),
        "actor.log_std": np.zeros(space.shape, np.float32),
    }
    identity = (np.zeros(size), np.ones(size), space.low, space.high)
    normaliser = Normaliser(*(np.asarray(item, np.float32) for item in identity))
    description = {**DESCRIPTION, "algorithm": "test", "head": head, "activation": "tanh"}
    save(folder / "0", make(actor, normaliser, description))
    return load_package(folder / "0")


def stable_baselines3(name, env):
    library = pytest.importorskip("stable_baselines3", reason="stable-baselines3 is not installed")
    options = {"buffer_size": 10} if name == "SAC" else {"n_steps": 2, "batch_size": 2}
    maker = getattr(library, name)
    return maker("MlpPolicy", env, seed=0, policy_kwargs={"net_arch": [16]}, **options)


POLICIES = {
    "iql": lambda env, folder: packaged(IQL, IQLConfig(hidden=(16, 16)), env, folder),
    "bc": lambda env, folder: packaged(BC, BCConfig(hidden=(16,)), env, folder),
    "squashed": lambda env, folder: headed("squashed", env, folder),
    "clipped": lambda env, folder: headed("clipped", env, folder),
    "deterministic": lambda env, folder: headed("deterministic", env, folder),
    "stable-baselines3 SAC": lambda env, folder: stable_baselines3("SAC", env),
    "stable-baselines3 PPO": lambda env, folder: stable_baselines3("PPO", env),
    "the policy in a stable-baselines3 SAC": lambda env, folder: (
        stable_baselines3("SAC", env).policy
    ),
}


@pytest.fixture(scope="module", name="env")
def _env():
    env = SingleEnv(PushTask(), max_steps=5)
    yield env
    env.close()


@pytest.fixture(scope="module", params=POLICIES.values(), ids=POLICIES, name="policy")
def _policy(request, env, tmp_path_factory):
    return request.param(env, tmp_path_factory.mktemp("policy"))


@pytest.fixture(name="observation")
def _observation(env):
    return np.stack([env.reset(seed=seed)[0] for seed in range(4)])


def test_it_has_the_protocols_method(policy):
    assert isinstance(policy, Policy)


@pytest.mark.parametrize("deterministic", [True, False])
def test_a_batch_gives_one_action_each(policy, env, observation, deterministic):
    action, state = policy.predict(observation, deterministic=deterministic)
    assert action.shape == (4, *env.action_space.shape)
    assert action.dtype == np.float32
    assert state is None
    assert all(env.action_space.contains(row) for row in action)


@pytest.mark.parametrize("deterministic", [True, False])
def test_one_observation_gives_one_action(policy, env, observation, deterministic):
    action, _ = policy.predict(observation[0], deterministic=deterministic)
    assert action.shape == env.action_space.shape
    assert env.action_space.contains(action)


def test_state_and_episode_start_are_accepted(policy, observation):
    start = np.ones(4, bool)
    action, state = policy.predict(observation, None, start, True)
    again, _ = policy.predict(observation, state=state, episode_start=~start, deterministic=True)
    np.testing.assert_array_equal(action, again)


def test_deterministic_actions_repeat_and_samples_do_not(policy, observation):
    first, _ = policy.predict(observation, deterministic=True)
    np.testing.assert_array_equal(policy.predict(observation, deterministic=True)[0], first)
    samples = [policy.predict(observation)[0] for _ in range(2)]
    draws = getattr(policy, "description", {}).get("head") != "deterministic"
    assert (samples[0] != samples[1]).any() == draws


def test_the_observation_is_left_as_it_was(policy, observation):
    before = observation.copy()
    policy.predict(observation, deterministic=True)
    np.testing.assert_array_equal(observation, before)


def test_a_row_does_not_depend_on_the_rows_beside_it(policy, observation):
    batch, _ = policy.predict(observation, deterministic=True)
    for row, action in zip(observation, batch, strict=True):
        alone, _ = policy.predict(row, deterministic=True)
        np.testing.assert_allclose(alone, action, rtol=1e-4, atol=1e-6)


def test_stable_baselines3_evaluates_it(policy, env):
    evaluation = pytest.importorskip("stable_baselines3.common.evaluation")
    returns, lengths = evaluation.evaluate_policy(
        policy, env, n_eval_episodes=2, return_episode_rewards=True, warn=False
    )
    assert lengths == [5, 5]
    assert np.isfinite(returns).all()
