"""Online learners: the environment's adapter, and packages that act as stable-baselines3 does."""

import itertools
import sys
from dataclasses import replace

import numpy as np
import pytest
from gymnasium.spaces import Box

from embodied.engine.data import Normaliser
from embodied.errors import UserError
from policies.package import make
from policies.ppo import PPO, PPOConfig
from policies.sac import SAC, SACConfig

pytest.importorskip("stable_baselines3", reason="stable-baselines3 is not installed")

LOW, HIGH = np.array([-0.5, 2.0], np.float32), np.array([0.5, 4.0], np.float32)
BEST = np.array([0.25, 2.5], np.float32)  # of the environment's own action
SAC_TINY = SACConfig(hidden=(16, 8), batch_size=32, learning_starts=60, learning_rate=3e-3)
PPO_TINY = PPOConfig(hidden=(16, 8), rollout_steps=120, learning_rate=3e-3, epochs=4)
HELD = replace(PPO_TINY, exploration_steps=4, initial_log_std=2.0)


class Aim:
    """Episodes of three steps; the reward says how far the action is from ``BEST``.

    Environment 0 ends by itself, the others by their time limit. The arrays are used again.
    """

    def __init__(self, num_envs=3):
        self.num_envs = num_envs
        self.single_observation_space = Box(-np.inf, np.inf, (3,), np.float64)
        self.observation = np.zeros((num_envs, 3))
        self.reward = np.zeros(num_envs)
        self.seeds, self.actions = [], []

    def _observe(self):
        # The action is not to depend on it: environment, episode and time, all small.
        self.observation[:] = np.stack([np.arange(self.num_envs), self.episode, self.time], 1) / 50
        return self.observation

    def reset(self, seed=None):
        self.seeds.append(seed)
        self.episode, self.time = np.zeros((2, self.num_envs))
        return self._observe(), {}

    def step(self, action):
        self.actions.append(action.copy())
        self.time += 1
        self.reward[:] = -np.square((action - BEST) / (HIGH - LOW)).sum(1)
        ended = self.time == 3
        first = np.arange(self.num_envs) == 0
        info = {}
        if ended.any():
            final = np.full(self.num_envs, None, object)
            for index, row in enumerate(self._observe()):
                final[index] = row.copy()
            info = {"final_obs": final, "final_info": {"success": first.copy()}}
            self.episode[ended] += 1
            self.time[ended] = 0
        return self._observe(), self.reward, ended & first, ended & ~first, info


MAKERS = {
    "sac": lambda env, seed=0: SAC(SAC_TINY, env, LOW, HIGH, seed),
    "ppo": lambda env, seed=0: PPO(PPO_TINY, env, LOW, HIGH, seed),
    "ppo_held": lambda env, seed=0: PPO(HELD, env, LOW, HIGH, seed),
}


@pytest.fixture(params=MAKERS, name="maker")
def _maker(request):
    return MAKERS[request.param]


def on(step, finished):
    return True


def packaged(learner):
    identity = Normaliser(np.zeros(3, np.float32), np.ones(3, np.float32), LOW, HIGH)
    names = {"head": learner.head, "activation": learner.activation}
    return make(learner.actor_weights(), identity, names)


def test_the_package_acts_as_stable_baselines3_predicts(maker):
    learner = maker(Aim())
    learner.learn(120, on)
    x = np.random.default_rng(0).normal(0, 3, (200, 3)).astype(np.float32)
    unit, _ = learner.model.predict(x, deterministic=True)
    assert unit.std() > 0.02
    expected = LOW + (unit + 1.0) / 2.0 * (HIGH - LOW)
    found, _ = packaged(learner).predict(x, deterministic=True)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_a_normalised_policy_is_packaged_with_its_normalisation():
    config = replace(PPO_TINY, normalise_observation=True, normalise_reward=True)
    learner = PPO(config, Aim(), LOW, HIGH, seed=0)
    learner.learn(240, on)
    mean, std = learner.observation_moments()
    seen = np.stack([np.arange(3), np.zeros(3), np.zeros(3)], 1)[:, 0] / 50
    assert mean[0] == pytest.approx(seen.mean(), abs=1e-3)
    assert std[0] == pytest.approx(seen.std(), abs=1e-3)
    x = np.random.default_rng(0).normal(mean, std, (200, 3)).astype(np.float32)
    normaliser = Normaliser(mean, std, LOW, HIGH)
    names = {"head": learner.head, "activation": learner.activation}
    found, _ = make(learner.actor_weights(), normaliser, names).predict(x, deterministic=True)
    unit, _ = learner.model.predict((x - mean) / std, deterministic=True)
    expected = LOW + (unit + 1.0) / 2.0 * (HIGH - LOW)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert expected.std() > 0.0
    assert PPO(PPO_TINY, Aim(), LOW, HIGH, seed=0).observation_moments() is None


def test_rewards_are_normalised_for_learning_and_told_as_they_are():
    stored, told = [], []
    for normalised in (True, False):
        config = replace(PPO_TINY, normalise_reward=normalised)
        learner, ended = PPO(config, Aim(), LOW, HIGH, seed=0), []
        learner.learn(120, lambda step, finished, ended=ended: ended.extend(finished) or True)
        stored.append(learner.model.rollout_buffer.rewards)
        told.append(ended)
    # Until the first update the same seed acts in the same way, so that all else is equal.
    assert told[0] == told[1]
    assert len(told[0]) > 30
    late = np.stack(stored)[:, 20:].reshape(2, -1)
    assert np.corrcoef(late)[0, 1] > 0.9
    assert not np.allclose(*late)


@pytest.mark.parametrize("name", ["sac", "ppo"])
def test_the_packages_samples_have_stable_baselines3s_spread(name):
    learner = MAKERS[name](Aim())
    learner.learn(120, on)
    x = np.zeros((20_000, 3), np.float32)
    unit, _ = learner.model.predict(x)
    found = 2.0 * (packaged(learner).predict(x)[0] - LOW) / (HIGH - LOW) - 1.0
    np.testing.assert_allclose(found.mean(0), unit.mean(0), atol=0.03)
    np.testing.assert_allclose(found.std(0), unit.std(0), rtol=0.03)


def test_held_noise_is_drawn_anew_after_its_steps_and_packaged_as_its_mean_deviation():
    learner, drawn = MAKERS["ppo_held"](Aim()), []
    policy = learner.model.policy

    def on_step(step, finished):
        drawn.append(policy.action_dist.exploration_mat.detach().numpy().copy())
        return True

    learner.learn(30, on_step)
    changes = [not np.array_equal(*pair) for pair in itertools.pairwise(drawn)]
    assert changes == [step % 4 == 0 for step in range(1, len(drawn))]
    seen = learner.model.policy.obs_to_tensor(learner.model._last_obs)[0]
    latent = policy.mlp_extractor.forward_actor(policy.extract_features(seen))
    spread = np.square(latent.detach().numpy()) @ np.exp(2 * policy.log_std.detach().numpy())
    expected = np.log(np.sqrt(spread).mean(0))
    np.testing.assert_allclose(learner.actor_weights()["actor.log_std"], expected, atol=1e-4)


def test_an_annealed_learning_rate_falls_to_zero_in_a_line():
    learner, rates = PPO(replace(PPO_TINY, anneal=True, epochs=1), Aim(), LOW, HIGH, seed=0), []

    def on_step(step, finished):
        rates.append(learner.model.policy.optimizer.param_groups[0]["lr"])
        return True

    learner.learn(4 * 120, on_step)
    # An update sets it from the share of the training that its rollout leaves.
    expected = [PPO_TINY.learning_rate * left for left in (1.0, 0.75, 0.5, 0.25)]
    assert rates[10::40] == pytest.approx(expected)


@pytest.mark.parametrize(("name", "steps"), [("sac", 600), ("ppo", 2400)])
def test_it_learns_where_the_reward_is(name, steps):
    learner = MAKERS[name](Aim())
    learner.learn(steps, on)
    action, _ = packaged(learner).predict(np.zeros((1, 3)), deterministic=True)
    away = np.abs((action[0] - BEST) / (HIGH - LOW))
    assert away.max() < 0.1, "the middle of the range is a quarter away"


def test_a_seed_decides_everything(maker):
    runs = []
    for seed in (1, 1, 2):
        learner = maker(Aim(), seed)
        learner.learn(120, on)
        runs.append(learner.actor_weights()["actor.0.weight"])
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_steps_and_finished_episodes_are_told(maker):
    env, told = Aim(), []
    taken = maker(env).learn(120, lambda step, finished: told.append((step, finished)) or True)
    assert taken == 120
    assert [step for step, _ in told] == list(range(3, 121, 3))
    finished = [item for _, items in told for item in items]
    assert len(finished) == 120 // 9 * 3
    assert [item[1] for item in finished[:3]] == [True, False, False]
    returns = [
        -np.square((np.array(env.actions[:3])[:, i] - BEST) / (HIGH - LOW)).sum() for i in range(3)
    ]
    np.testing.assert_allclose([item[0] for item in finished[:3]], returns, rtol=1e-5)


def test_it_stops_when_told_to(maker):
    env = Aim()
    assert maker(env).learn(300, lambda step, finished: step < 30) == 30
    assert len(env.actions) == 10


def test_the_first_reset_is_seeded_once_and_actions_stay_in_their_range(maker):
    env = Aim()
    maker(env, 5).learn(120, on)
    assert env.seeds == [[5, 6, 7]]
    actions = np.concatenate(env.actions)
    assert actions.dtype == np.float32
    assert (actions >= LOW).all()
    assert (actions <= HIGH).all()
    assert (actions.std(0) > 0.1).all(), "the whole range is tried"


def test_the_replay_buffer_holds_what_happened():
    """The last observation of an episode and not the next one's first; limits apart from ends."""
    env = Aim()
    learner = MAKERS["sac"](env)
    learner.learn(18, on)
    buffer = learner.model.replay_buffer
    time = np.tile([1, 2, 3], 2)[:, None].repeat(3, 1)
    np.testing.assert_allclose(buffer.observations[:6, :, 2], (time - 1) / 50, rtol=1e-6)
    np.testing.assert_allclose(buffer.next_observations[:6, :, 2], time / 50, rtol=1e-6)
    np.testing.assert_array_equal(buffer.dones[:6], time == 3)
    np.testing.assert_array_equal(buffer.timeouts[:6], (time == 3) & (np.arange(3) > 0))
    scaled = 2 * (np.array(env.actions) - LOW) / (HIGH - LOW) - 1
    np.testing.assert_allclose(buffer.actions[:6], scaled, atol=1e-5)


BAD = {
    "buffer": (SAC, replace(SAC_TINY, buffer_size=0), "policy.buffer_size"),
    "updates": (SAC, replace(SAC_TINY, gradient_steps_per_step=0), "gradient_steps_per_step"),
    "start": (SAC, replace(SAC_TINY, learning_starts=-1), "policy.learning_starts"),
    "rollout": (PPO, replace(PPO_TINY, rollout_steps=1), "policy.rollout_steps"),
    "batch": (PPO, replace(PPO_TINY, batch_size=1), "policy.batch_size"),
    "epochs": (PPO, replace(PPO_TINY, epochs=0), "policy.epochs"),
    "lambda": (PPO, replace(PPO_TINY, gae_lambda=1.5), "policy.gae_lambda"),
    "clip": (PPO, replace(PPO_TINY, clip_range=0.0), "policy.clip_range"),
}


@pytest.mark.parametrize(("learner", "config", "match"), BAD.values(), ids=BAD)
def test_settings_that_cannot_work_are_told(learner, config, match):
    with pytest.raises(UserError, match=match):
        learner(config, Aim(), LOW, HIGH, 0)


def test_a_missing_library_is_told_in_one_line(maker, monkeypatch):
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    with pytest.raises(UserError, match=r"embodied-stack\[sb3\]"):
        maker(Aim())
