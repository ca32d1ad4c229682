from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pytest

from embodied.environments import EnvConfig, environment_from_json
from embodied.errors import UserError
from embodied.files import read_json
from embodied.rollout import rollout
from embodied.runs import RunFolder
from embodied.stages.evaluate import EvaluateConfig, evaluate, evaluate_policies, find_packages
from embodied.stages.film import first_with

KEYS = {
    *("schema_version", "task", "instruction", "policy", "reward", "seeds", "episodes", "steps"),
    *("wall_s", "success", "return", "controls"),
}
CONTROLS = {"behaviour", "bc", "constant_reward", "true_reward"}


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the trained run that a test may change."""
    shutil.copytree(trained.path, tmp_path / "run")
    return RunFolder.open(tmp_path / "run")


def check_summary(row, seeds, largest):
    assert row.keys() >= {"mean", "ci95", "per_seed"}
    low, high = row["ci95"]
    assert 0 <= low <= row["mean"] <= high <= largest
    assert len(row["per_seed"]) == seeds
    assert math.isclose(np.mean(row["per_seed"]), row["mean"], abs_tol=1e-12)


def test_a_result_has_every_key_and_every_control(run):
    folder = evaluate(run, EvaluateConfig(episodes=3, videos=False))
    assert folder == run.path / "evaluations" / "1"
    result = read_json(folder / "result.json")
    assert result.keys() >= KEYS
    assert result["task"] == "push"
    assert result["policy"] == "iql"
    assert result["seeds"] == [0, 1]
    assert result["episodes"] == 3
    assert result["reward"]["kind"] == "file"
    assert result["controls"].keys() == CONTROLS
    steps = 50
    for name, row in {"policy": result, **result["controls"]}.items():
        seeds = 1 if name == "behaviour" else 2  # one dataset, two training seeds
        check_summary(row["success"], seeds, 1.0)
        check_summary(row["return"], seeds, float(steps))
        assert "iqm" in row["return"]
    assert result["controls"]["behaviour"]["success"]["mean"] > 0.1
    assert read_json(run.path / "result.json") == result
    # How long training took is not forgotten by a later evaluation.
    assert result["wall_s"] == read_json(run.path / "evaluations/0/result.json")["wall_s"] > 0
    assert (run.path / "report.html").read_bytes() == (folder / "report.html").read_bytes()


def test_evaluations_are_numbered_and_the_same_seed_gives_the_same_result(run):
    config = EvaluateConfig(episodes=3, seed=7, videos=False)
    first, second = evaluate(run, config), evaluate(run, config)
    assert [first.name, second.name] == ["1", "2"]
    assert read_json(first / "result.json") == read_json(second / "result.json")


def test_every_arm_and_seed_meets_the_same_starts(run):
    packages = find_packages(run)
    env = environment_from_json(packages["policy"][0].description["environment"])
    policies = [item for items in packages.values() for item in items]
    assert len(policies) == 2 * 4
    found = evaluate_policies(env, policies, 3, seed=11)
    starts = [[episode.observation[0] for episode in episodes] for episodes in found]
    for other in starts[1:]:
        np.testing.assert_array_equal(other, starts[0])
    assert not np.array_equal(starts[0][0], starts[0][1])
    again = evaluate_policies(env, policies[:1], 3, seed=12)
    assert not np.array_equal(again[0][0].observation[0], starts[0][0])


def test_policies_stepped_together_do_what_they_do_alone(run):
    packages = find_packages(run)
    env = environment_from_json(packages["policy"][0].description["environment"])
    together = evaluate_policies(env, packages["policy"], 2, seed=3)
    for policy, episodes in zip(packages["policy"], together, strict=True):
        (alone,) = evaluate_policies(env, [policy], 2, seed=3)
        for one, other in zip(alone, episodes, strict=True):
            np.testing.assert_allclose(one.observation, other.observation, atol=1e-5)


class Constant:
    def __init__(self, size):
        self.size = size

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        assert deterministic
        return np.zeros((len(observation), self.size), np.float32), None


@pytest.mark.parametrize("episodes", [1, 3, 5])
def test_gymnasium_environments_give_exactly_the_episodes_asked_for(episodes):
    env = EnvConfig("gymnasium", num_envs=2, id="Pendulum-v1")
    found = evaluate_policies(env, [Constant(1), Constant(1)], episodes, seed=0)
    assert [len(items) for items in found] == [episodes, episodes]
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one.observation, other.observation)


def test_videos_show_the_episodes_that_were_evaluated(run):
    from embodied.render import available

    if available() is None:
        pytest.skip("no headless OpenGL on this machine")
    pytest.importorskip("av", reason="videos need the extra 'report'")
    folder = evaluate(run, EvaluateConfig(episodes=2))
    filmed = read_json(folder / "videos.json")
    # A policy of four updates does not succeed, so a failure is filmed and a success told missing.
    assert filmed["videos"] == {"failure": "videos/failure.mp4"}
    assert "No video of a success: there was none in the evaluation." in filmed["missing"]
    assert (folder / "videos" / "failure.mp4").stat().st_size > 1000
    assert "data:video/mp4" in (folder / "report.html").read_text(encoding="utf-8")


def test_an_evaluation_without_gl_says_why_there_is_no_video(run, monkeypatch):
    def fail(*arguments, **options):
        raise UserError("no headless OpenGL works here")

    monkeypatch.setattr("embodied.stages.film.film", fail)
    folder = evaluate(run, EvaluateConfig(episodes=2))
    assert "no headless OpenGL works here" in read_json(folder / "videos.json")["missing"]


def test_a_film_repeats_the_evaluated_episode():
    """Rolled out alone from its seed, an episode is the one of the batch, bit for bit."""
    from embodied.environments import make_environment

    config = EnvConfig("push", threads=1)
    batch = make_environment(config, 3)
    zero = np.zeros((3, batch.single_action_space.shape[0]), np.float32)
    together = dict(rollout(batch, lambda *_: zero + 0.05, 1, [40, 41, 42]))
    batch.close()
    single = make_environment(config, 1)
    ((_, alone),) = rollout(single, lambda *_: zero[:1] + 0.05, 1, [41])
    single.close()
    np.testing.assert_array_equal(alone.observation, together[1].observation)
    np.testing.assert_array_equal(alone.columns["success"], together[1].columns["success"])


def test_the_first_success_and_the_first_failure_are_found(run):
    env = EnvConfig("push", max_steps=2)
    episodes = evaluate_policies(env, [Constant(6)], 3, seed=0)
    assert first_with(episodes, False) == (0, 0)
    assert first_with(episodes, True) is None
    episodes[0][2].columns["success"][-1] = True
    assert first_with(episodes, True) == (0, 2)


def test_a_run_without_policies_is_told_how_to_go_on(run):
    shutil.rmtree(run.path / "policy")
    with pytest.raises(UserError, match="has no policy yet; finish it with: embodied train resume"):
        evaluate(run, EvaluateConfig(episodes=2, videos=False))


@pytest.mark.parametrize("episodes", [0, -1])
def test_no_episodes_are_refused(run, episodes):
    with pytest.raises(UserError, match="episodes is"):
        evaluate(run, EvaluateConfig(episodes=episodes, videos=False))
    assert not (run.path / "evaluations" / "1").exists()


@pytest.mark.parametrize("name", ["behaviour.json", "result.json"])
@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '{"success": 3, "return": "x"}'])
def test_a_damaged_file_of_the_run_is_told(run, name, content):
    path = run.path / name
    path.unlink() if content is None else path.write_text(content)
    if name == "result.json" and content is None:
        assert evaluate(run, EvaluateConfig(episodes=2, videos=False)).is_dir()
        return
    with pytest.raises(UserError):
        evaluate(run, EvaluateConfig(episodes=2, videos=False))


def test_the_reward_over_an_episode_is_kept_for_the_report(run):
    folder = evaluate(run, EvaluateConfig(episodes=2, videos=False))
    episode = json.loads((folder / "episode.json").read_text())
    assert len(episode["total"]) == 50
    assert set(episode["terms"]) == {"progress", "reach", "near"}
    assert all(len(values) == 50 for values in episode["terms"].values())
