"""The online loop: sessions on time, the past relabelled, the entropy of states at first."""

import numpy as np
import pytest

import sim
from embodied.environments import EnvConfig
from embodied.errors import UserError
from embodied.files import read_json
from embodied.registry import resolve
from embodied.stages.learning_reward import LearningReward, following
from embodied.stages.reward import make_reward, sample_transitions
from embodied.stages.rewarded import RewardedEnv


@pytest.fixture(autouse=True)
def _runs(tmp_path, monkeypatch):
    monkeypatch.setenv("EMBODIED_RUNS", str(tmp_path / "runs"))


@pytest.fixture(name="sample", scope="module")
def _sample():
    return sample_transitions(EnvConfig("cartpole", num_envs=8), 8, seed=0)


ONLINE = {
    "source": "oracle",
    "epochs": 5,
    "explore_steps": 32,
    "query_every": 32,
    "pairs_per_session": 20,
    "pairs": 50,
    "recent_steps": 64,
}


class Keeping:
    """A learner that stores as stable-baselines3's does: after the callback, in a ring."""

    def __init__(self, rows, num_envs):
        self.rewards, self.seen = np.zeros((rows, num_envs)), [None] * rows
        self.at, self.count, self.restarts = 0, 0, 0

    @property
    def stored_rows(self):
        return min(self.count, len(self.rewards))

    def store(self, reward, seen):
        self.rewards[self.at], self.seen[self.at] = reward, seen
        self.at, self.count = (self.at + 1) % len(self.rewards), self.count + 1

    def relabel(self, reward):
        rows = (self.at - self.stored_rows + np.arange(self.stored_rows)) % len(self.rewards)
        self.rewards[rows] = reward

    def restart_critics(self):
        self.restarts += 1


def test_the_online_loop_relabels_all_of_the_past_also_after_it_wrapped_around(sample, tmp_path):
    template = make_reward(
        {"name": "rlvlmf_online", **ONLINE}, {}, tmp_path, resolve("task", "cartpole")(), sample
    )
    assert isinstance(template, LearningReward)
    reward = template.fresh(3)
    learner, sessions = Keeping(rows=20, num_envs=4), []
    inner = sim.make("cartpole", 4)
    env = RewardedEnv(inner, reward)
    step = following(reward, learner, lambda steps, finished: sessions.append(reward.asked) or True)
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    for number in range(1, 41):
        observation, paid, _, _, _ = env.step(rng.uniform(-1, 1, (4, 1)))
        step(4 * number, [])
        learner.store(paid, observation)
        if reward.asked and number % 8 != 0:  # a step after each session everything is up to date
            for stored, seen in zip(learner.rewards, learner.seen, strict=True):
                if seen is not None:
                    wanted = reward._model.members(seen).mean(0)
                    np.testing.assert_allclose(stored, wanted, rtol=1e-5, atol=1e-6)
    assert sessions[6] == 0
    assert sessions[7] == 20
    assert sessions[-1] == 50, "no more than was asked for"
    assert learner.restarts == 1
    reward.save(tmp_path / "kept")
    assert read_json(tmp_path / "kept" / "diagnostics.json")["preferences"]["sessions"] == 3


def test_exploring_pays_for_states_that_are_far_from_those_seen(sample, tmp_path):
    reward = make_reward(
        {"name": "rlvlmf_online", **ONLINE}, {}, tmp_path, resolve("task", "cartpole")(), sample
    )
    part = slice(0, 200)
    near = type(sample)(
        **{
            name: getattr(sample, name)[part]
            for name in ("observation", "action", "next_observation", "terminated", "truncated")
        },
        state={name: item[part] for name, item in sample.state.items()},
        next_state={name: item[part] for name, item in sample.next_state.items()},
    )
    reward.observe(near)
    far = type(near)(**{**vars(near), "next_observation": near.next_observation + 50})
    assert reward.score(far).total.min() > reward.score(near).total.max()


def test_a_policy_that_keeps_no_past_cannot_follow(sample, tmp_path):
    reward = make_reward(
        {"name": "rlvlmf_online", **ONLINE}, {}, tmp_path, resolve("task", "cartpole")(), sample
    )
    with pytest.raises(UserError, match="policy=sac"):
        following(reward, object(), lambda steps, finished: True)
