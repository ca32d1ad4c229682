"""Online training on another reward than the environment's: what it sees, and what is kept."""

import json
from dataclasses import replace

import numpy as np
import pytest

from embodied.config import build, load
from embodied.environments import EnvConfig, make_environment
from embodied.errors import UserError
from embodied.registry import resolve
from embodied.rollout import rollout
from embodied.runs import read_metrics
from embodied.stages.labelled import DataConfig
from embodied.stages.rewarded import RewardedEnv
from embodied.stages.train import TrainConfig, train
from embodied.types import Score

pytest.importorskip("stable_baselines3", reason="stable-baselines3 is not installed")

PPO = {"name": "ppo", "hidden": [8], "batch_size": 20, "rollout_steps": 40, "epochs": 1}


@pytest.fixture(name="online_config")
def _online_config(runs_here):
    return TrainConfig(
        env=EnvConfig("reach", num_envs=4, max_steps=5),
        data=DataConfig(()),
        policy=PPO,
        seeds=(0, 3),
        steps=80,
        threads=1,
        log_every=40,
        curve_every=0,
        evaluation_episodes=2,
        videos=False,
    )


CODE = """
def reward(state, action, next_state):
    moved = next_state.tip_position[:, 0] - state.tip_position[:, 0]
    effort = -np.sum(np.square(action), axis=-1)
    return 10.0 * moved + effort, {"moved": 10.0 * moved, "effort": effort}
"""


@pytest.fixture(name="own_reward")
def _own_reward(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(CODE)
    return {"name": "file", "path": str(path)}


def test_any_reward_trains_online_and_is_kept(online_config, own_reward):
    run = train(replace(online_config, seeds=(0,), reward=own_reward))
    kept = json.loads((run.path / "reward" / "provenance.json").read_text())
    assert (run.path / "reward" / "reward.py").read_text() == CODE
    assert run.manifest["reward"] == kept
    assert json.loads((run.path / "result.json").read_text())["reward"] == kept
    package = resolve("package", "load")(run.path / "policy" / "0")
    assert package.description["reward"]["kind"] == "file"
    again = train(
        replace(online_config, seeds=(0,), reward={"name": "saved", "path": str(run.path)})
    )
    assert again.manifest["reward"]["source_sha256"] == kept["source_sha256"]
    first, second = (
        (item.path / "policy" / "0" / "policy.safetensors").read_bytes() for item in (run, again)
    )
    assert first == second, "the same reward and seed give the same policy"
    own = train(replace(online_config, seeds=(0,)))
    assert (own.path / "policy" / "0" / "policy.safetensors").read_bytes() != first


def test_terms_are_told_per_step(online_config, own_reward):
    lines = read_metrics(train(replace(online_config, reward=own_reward)))
    for line in lines:
        total, moved, effort = (
            np.array(line[f"policy/reward/{name}"]) for name in ("total", "moved", "effort")
        )
        np.testing.assert_allclose(total, moved + effort, rtol=1e-5)
        assert (effort < 0).all()
        # Episodes of 5 steps: their mean return is five times the mean per step.
        np.testing.assert_allclose(line["policy/episode/return"], 5 * total, rtol=1e-4)
        assert "policy/episode/success" in line


class Recording:
    """A reward that keeps what it is asked to score."""

    def __init__(self):
        self.batches = []

    def score(self, batch):
        self.batches.append(batch)
        total = batch.next_state["tip_position"][:, 0].astype(np.float32)
        return Score(total, {"x": total, "success": np.asarray(batch.columns["success"])})

    def provenance(self):
        return {"kind": "recording"}


def test_a_reward_is_shown_what_the_episodes_hold():
    """Before and after each step, and at an episode's end its last state, not the next start."""
    actions = np.random.default_rng(0).uniform(-0.15, 0.15, (7, 3, 6)).astype(np.float32)
    own = iter(actions)
    plain = make_environment(EnvConfig("reach", num_envs=3, threads=1, max_steps=3))
    episodes = list(rollout(plain, lambda *_: next(own), 2, 5))
    reward = Recording()
    env = RewardedEnv(make_environment(EnvConfig("reach", 3, threads=1, max_steps=3)), reward)
    env.reset(seed=5)
    paid = np.stack([env.step(action)[1] for action in actions[:6]])
    assert env.num_envs == 3
    for place, (index, episode) in enumerate(episodes):
        turn = slice(3 * (place // 3), 3 * (place // 3) + 3)
        batches = reward.batches[turn]
        for key, rows in episode.state.items():
            before = np.stack([item.state[key][index] for item in batches])
            after = np.stack([item.next_state[key][index] for item in batches])
            np.testing.assert_array_equal(before, rows[:-1], err_msg=key)
            np.testing.assert_array_equal(after, rows[1:], err_msg=key)
        seen = np.stack([item.next_observation[index] for item in batches])
        np.testing.assert_array_equal(seen, episode.observation[1:])
        told = [bool(item.columns["success"][index]) for item in batches]
        assert told == episode.columns["success"].tolist()
        expected = episode.state["tip_position"][1:, 0].astype(np.float32)
        np.testing.assert_array_equal(paid[turn, index], expected)
    means = env.term_means()
    assert means["total"] == pytest.approx(float(paid.mean()))
    assert env.term_means() == {}
    plain.close()
    env.close()


def test_a_reward_needs_named_fields_and_offline_training_needs_labels(
    online_config, own_reward, push_dataset
):
    gymnasium = EnvConfig("gymnasium", num_envs=2, id="Pendulum-v1")
    with pytest.raises(UserError, match="documents no state fields"):
        train(replace(online_config, env=gymnasium, reward=own_reward))
    offline = replace(online_config, policy={"name": "bc"}, reward=own_reward)
    with pytest.raises(UserError, match="learns from labels"):
        train(replace(offline, data=DataConfig((str(push_dataset.folder),))))


def test_a_refused_reward_leaves_no_run(online_config, tmp_path, runs_here):
    path = tmp_path / "wrong.py"
    path.write_text("def reward(state, action, next_state):\n    return state.nothing, {}\n")
    with pytest.raises(UserError, match="nothing"):
        train(replace(online_config, reward={"name": "file", "path": str(path)}))
    assert list(runs_here.glob("*")) == []


def test_the_command_line_takes_a_reward_for_online_training(tmp_path):
    given = ["policy=ppo_locomotion", "env=hopper_forward"]
    config = build(TrainConfig, load("train", [*given, "reward=file", f"path={tmp_path}/a.py"]))
    assert config.reward == {"name": "file", "path": f"{tmp_path}/a.py"}
    assert build(TrainConfig, load("train", [*given, "reward=expert"])).reward == {"name": "expert"}
    assert build(TrainConfig, load("train", given)).reward is None
