"""Online training from the command's side: what a run holds, and how it is stopped."""

import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest

from embodied.config import load
from embodied.dataset import Dataset
from embodied.environments import EnvConfig
from embodied.errors import UserError
from embodied.registry import resolve
from embodied.results import table
from embodied.rollout import rollout
from embodied.runs import RunFolder, read_metrics
from embodied.stages import online
from embodied.stages.collect import CollectConfig, collect
from embodied.stages.deploy import DeployConfig, deploy
from embodied.stages.evaluate import EvaluateConfig, evaluate
from embodied.stages.labelled import DataConfig
from embodied.stages.train import TrainConfig, resume, train

pytest.importorskip("stable_baselines3", reason="stable-baselines3 is not installed")

PPO = {"name": "ppo", "hidden": [8], "batch_size": 20, "rollout_steps": 40, "epochs": 1}
SAC = {"name": "sac", "hidden": [8], "batch_size": 8, "learning_starts": 40}


@pytest.fixture(name="online_config")
def _online_config(runs_here):
    return TrainConfig(
        env=EnvConfig("push", num_envs=4, max_steps=5),
        data=DataConfig(()),
        policy=PPO,
        seeds=(0, 3),
        steps=80,
        threads=1,
        log_every=40,
        curve_every=80,
        curve_episodes=2,
        evaluation_episodes=2,
        videos=False,
    )


@pytest.mark.parametrize("policy", [PPO, SAC], ids=["ppo", "sac"])
def test_a_run_holds_what_an_offline_one_holds(online_config, policy):
    run = train(replace(online_config, policy=policy))
    result = json.loads((run.path / "result.json").read_text())
    assert (result["policy"], result["steps"], result["seeds"]) == (policy["name"], 80, [0, 3])
    assert result["reward"] == {"kind": "environment"}
    assert len(result["success"]["per_seed"]) == 2
    assert result["controls"]["bc"] is None
    assert "behaviour" not in table(result), "there was no dataset"
    assert "learnt online" in " ".join(result["notes"])
    assert (run.path / "report.html").is_file()
    for seed in (0, 3):
        package = resolve("package", "load")(run.path / "policy" / str(seed))
        assert package.description["action"]["unit"] == "rad"
        assert package.description["data"] is None
        assert package.description["seed"] == seed
    assert evaluate(run, EvaluateConfig(episodes=2, videos=False)).name == "1"


def test_metrics_of_the_seeds_stand_side_by_side(online_config):
    lines = read_metrics(train(online_config))
    assert [line["step"] for line in lines] == [40, 80]
    for line in lines:
        for name in ("return", "success"):
            values = line[f"policy/episode/{name}"]
            assert len(values) == 2
            assert np.isfinite(values).all()
    assert len(lines[1]["policy/evaluation/success"]) == 2
    assert "policy/evaluation/success" not in lines[0]


def test_a_policy_that_learnt_online_is_deployed(online_config):
    run = train(replace(online_config, seeds=(0,), curve_every=0))
    robot = load("deploy", [])["robot"]
    folder = deploy(run, DeployConfig(robot=robot, max_steps=2))
    assert (folder / "result.json").is_file()


def test_an_online_run_is_not_resumed(online_config):
    run = train(replace(online_config, seeds=(0,), curve_every=0))
    before = (run.path / "metrics.jsonl").read_bytes()
    with pytest.raises(UserError, match="cannot be resumed"):
        resume(str(run.path))
    assert (run.path / "metrics.jsonl").read_bytes() == before


def test_data_are_refused(online_config, tmp_path):
    with pytest.raises(UserError, match="reads no data"):
        train(replace(online_config, data=DataConfig((str(tmp_path),))))


def test_ctrl_c_keeps_the_policy_and_ends(online_config, monkeypatch, runs_here, capsys):
    means = online.episode_means

    def interrupted(finished):
        os.kill(os.getpid(), signal.SIGINT)
        return means(finished)

    monkeypatch.setattr(online, "episode_means", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(online_config)
    (folder,) = runs_here.iterdir()
    run = RunFolder.open(folder)
    assert [item.name for item in (folder / "policy").iterdir()] == ["0"]
    assert "stopped at step 40 of seed 0" in capsys.readouterr().out
    evaluate(run, EvaluateConfig(episodes=2, videos=False))
    assert json.loads((folder / "result.json").read_text())["steps"] == 40


class Diverging:
    head, activation = "clipped", "tanh"

    def __init__(self, value):
        self.value = value

    def learn(self, steps, on_step):
        raise ValueError("Expected parameter loc")

    def actor_weights(self):
        return {"actor.0.weight": np.full((2, 1), self.value, np.float32)}


def test_a_training_that_diverges_is_told_and_a_bug_travels():
    with pytest.raises(UserError, match=r"policy\.learning_rate"):
        online.learn(Diverging(np.nan), 10, lambda step, finished: True)
    with pytest.raises(ValueError, match="loc"):
        online.learn(Diverging(1.0), 10, lambda step, finished: True)


@pytest.mark.parametrize("name", ["sac", "ppo"])
def test_the_configs_need_no_data(name):
    values = load("train", [f"policy={name}"])
    assert values["data"]["paths"] == []
    assert values["policy"]["name"] == name
    assert set(values["policy"]) - {"name"} == set(vars(resolve("policy", name).Config()))


# --- what a behaviour is told -------------------------------------------------------------------


class Told:
    """Acts with constants and keeps what it is told."""

    def __init__(self, env):
        self.env, self.batches = env, []

    def act(self, observation, state, start):
        return np.full((len(observation), 1), 0.5, np.float32)

    def observe(self, batch):
        self.batches.append(batch)


def test_rollout_tells_every_step_as_the_episodes_have_it(tmp_path):
    import sim.gymnasium_adapter

    env = sim.gymnasium_adapter.make("Pendulum-v1", 2, max_steps=3)
    told = Told(env)
    episodes = list(rollout(env, told.act, 2, 0, observe=told.observe))
    env.close()
    assert len(told.batches) == 6
    for place, (index, episode) in enumerate(episodes):
        steps = told.batches[3 * (place // 2) : 3 * (place // 2) + 3]
        before = np.stack([item.observation[index] for item in steps])
        after = np.stack([item.next_observation[index] for item in steps])
        np.testing.assert_array_equal(before, episode.observation[:-1])
        np.testing.assert_array_equal(after, episode.observation[1:])
        rewards = np.stack([item.reward[index] for item in steps])
        np.testing.assert_allclose(rewards, episode.columns["reward"], rtol=1e-6)
        assert [bool(item.truncated[index]) for item in steps] == [False, False, True]


def test_collect_tells_a_learning_behaviour_alone(tmp_path, monkeypatch):
    made = []

    def maker(config, env, seed):
        made.append(Told(env))
        return made[0]

    monkeypatch.setattr("embodied.stages.collect.make_behaviour", maker)
    env = EnvConfig("gymnasium", num_envs=2, max_steps=4, id="Pendulum-v1")
    collect(CollectConfig(env, {}, str(tmp_path / "data"), episodes=2))
    assert len(made[0].batches) == 4
    assert Dataset(tmp_path / "data").has("column.environment_reward")
