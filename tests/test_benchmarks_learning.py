"""The learning benchmarks at tiny sizes: their room, their data, and what they compare."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from benchmarks import halfcheetah, pointmass, recovery, robust, stitching
from benchmarks.learning import difference
from benchmarks.pointmass import WALL_LEFT, WALL_RIGHT, WALL_TOP, A, B, C
from embodied.engine.data import Normaliser, OfflineData, RewardColumn

# --- the room -----------------------------------------------------------------------------------


def one_step(x, y, vx, vy, action=(0.0, 0.0)):
    state = np.array([[x, y, vx, vy]], np.float32)
    return pointmass.advance(state, np.array([action], np.float32))[0]


def test_a_force_adds_to_what_drag_leaves_of_the_speed():
    found = one_step(0.2, 0.2, 0.05, -0.05, action=(1.0, -0.5))
    assert found == pytest.approx([0.26, 0.16, 0.06, -0.04])


def test_a_force_beyond_the_range_counts_as_its_end():
    assert np.array_equal(one_step(0.2, 0.2, 0, 0, (9.0, 0.0)), one_step(0.2, 0.2, 0, 0, (1.0, 0)))


def test_the_wall_stops_below_its_top_and_not_above():
    assert one_step(0.34, 0.2, 0.1, 0.0) == pytest.approx([WALL_LEFT, 0.2, 0.0, 0.0])
    assert one_step(0.66, 0.2, -0.1, 0.0) == pytest.approx([WALL_RIGHT, 0.2, 0.0, 0.0])
    assert one_step(0.34, 0.9, 0.1, 0.0)[0] == pytest.approx(0.38)
    assert one_step(0.5, 0.56, 0.1, -0.1) == pytest.approx([0.54, WALL_TOP, 0.04, 0.0])


states = st.tuples(*[st.floats(0.0, 1.0, width=32)] * 2, *[st.floats(-0.125, 0.125, width=32)] * 2)
forces = st.tuples(*[st.floats(-2.0, 2.0, width=32)] * 2)


def within_wall(state):
    return WALL_LEFT < state[0] < WALL_RIGHT and state[1] < WALL_TOP


@given(states.filter(lambda state: not within_wall(state)), forces)
def test_nothing_leaves_the_room_or_goes_through_the_wall(state, force):
    after = one_step(*state, action=force)
    assert (after[:2] >= 0.0).all()
    assert (after[:2] <= 1.0).all()
    assert not within_wall(after), "it starts outside and stays outside"


def test_an_episode_ends_where_its_goal_is():
    targets = np.stack([pointmass.LEFT_CORNER, B, pointmass.RIGHT_CORNER, C])[None]
    start = np.array([[*A, 0.0, 0.0]], np.float32)
    rng = np.random.default_rng(0)
    episodes = pointmass.roll(pointmass.controller(targets, 0.0, rng), start, C)
    assert episodes.reached.tolist() == [True]
    assert pointmass.is_at(episodes.last(), C).all()
    before = episodes.state[: episodes.length[0], 0]
    assert not pointmass.is_at(before, C).any()
    assert [episodes.touched(place)[0] for place in (A, B, C)] == [True, True, True]


def test_only_the_goal_is_terminal_and_only_it_is_free():
    rng = np.random.default_rng(0)
    start, corner = pointmass.starts(A, 3, rng), pointmass.LEFT_CORNER
    act = pointmass.controller(np.broadcast_to(corner, (3, 1, 2)), 0.0, rng)
    episodes = pointmass.roll(act, start, corner)
    cut, ended = (pointmass.as_data([(episodes, flag)]) for flag in (False, True))
    assert len(cut.source.observation) == len(cut.source) + 3
    assert not cut.source.terminated.any()
    assert (cut.reward == -1.0).all()
    last = np.append(ended.source.episode_starts[1:], len(ended.source)) - 1
    assert np.flatnonzero(ended.source.terminated).tolist() == last.tolist()
    assert np.flatnonzero(ended.reward == 0.0).tolist() == last.tolist()


# --- stitching ----------------------------------------------------------------------------------


def test_no_episode_goes_from_a_to_c():
    _, told = stitching.collect(0)
    legs = [told[name] for name in ("A to B", "B to C", "B to D")]
    assert all(item["came_to_their_end"] == 1.0 for item in legs)
    assert all(item["touched_both_a_and_c"] == 0 for item in legs)
    assert legs[1]["episodes"] < 0.3 * legs[2]["episodes"], "from B the data rarely go to C"


def test_stitching_compares_every_arm():
    found = stitching.measure([0, 1], steps=8, episodes=3, shrink=40)
    assert set(found["arms"]) == {"iql", "iql_expectile_0.5", "iql_constant_reward", "bc"}
    for arm in found["arms"].values():
        assert len(arm["success"]["per_seed"]) == 2
    json.dumps(found, allow_nan=False)


# --- robust -------------------------------------------------------------------------------------


def gathered(data, count):
    numbers = ((4, 0.0), (4, 1.0), (2, -3.0), (2, 3.0))  # mean, std, low, high
    normaliser = Normaliser(*(np.full(size, value, np.float32) for size, value in numbers))
    joined = OfflineData([data.source], [normaliser], [(0, RewardColumn(data.reward))])
    return joined.block(torch.arange(count)[None, None])


def test_without_corruption_the_transitions_stay_the_same():
    clean = pointmass.replay(6, np.random.default_rng(0))
    count = len(clean.source)
    before, after = gathered(clean, count), gathered(robust.corrupted(clean, 0.0, 0), count)
    for name in ("observation", "action", "reward", "mask", "next_observation"):
        assert torch.equal(getattr(before, name), getattr(after, name)), name


def test_corruption_changes_the_next_observation_of_its_share_and_nothing_else():
    clean = pointmass.replay(6, np.random.default_rng(0))
    count = len(clean.source)
    before, after = gathered(clean, count), gathered(robust.corrupted(clean, 0.3, 0), count)
    changed = (before.next_observation != after.next_observation).any(-1)
    assert int(changed.sum()) == round(0.3 * count)
    for name in ("observation", "action", "reward", "mask"):
        assert torch.equal(getattr(before, name), getattr(after, name)), name


def test_robust_chooses_the_best_settings_and_reports_both_rates(monkeypatch):
    monkeypatch.setattr(robust, "GRID", ((0.25, 1.0), (0.5, 0.5)))
    task = robust.room(episodes=6, evaluated=4)
    found = robust.measure(task, seeds=[0, 1], tuning_seeds=[7], steps=8)
    assert found["chosen"]["mean"] == max(row["mean"] for row in found["tuning"])
    assert list(found["corruption"]) == ["0%", "30%"]
    json.dumps(found, allow_nan=False)


def test_robust_iql_differs_from_iql_in_three_settings_alone():
    plain = robust.room().config
    other = robust.robust(plain, 0.25, 1.0)
    assert (other.critics, other.quantile, other.huber) == (5, 0.25, 1.0)
    assert replace(other, critics=2, quantile=0.0, huber=None) == plain


# --- HalfCheetah --------------------------------------------------------------------------------


def test_differences_are_paired():
    ours = [np.array([1.0, 5.0]), np.array([10.0, 3.0])]
    found = difference(ours, [item - 2.0 for item in ours])
    assert (found["mean"], found["ci95"]) == (2.0, [2.0, 2.0])


@pytest.mark.parametrize(("bc", "shown"), [([4.0, 5.0], True), ([8.0, 12.0], False)])
def test_iql_has_to_beat_the_others_by_more_than_the_interval(bc, shown):
    def row(values):
        return {"mean": np.mean(values), "ci95": [min(values), max(values)], "per_seed": values}

    arms = {"iql": row([9.0, 10.0]), "bc": row(bc)}
    found = halfcheetah.compare(arms, {"all": row([3.0, 4.0]), "last_tenth": row([9.0, 11.0])})
    assert found["shown"] is shown
    assert found["interval_of_iql_above_that_of"]["behaviour_last_tenth"] is False


@pytest.fixture(scope="module", name="cheetah")
def _cheetah(tmp_path_factory):
    """Twenty short random episodes with the environment's reward, and their environment."""
    pytest.importorskip("imageio", reason="Gymnasium's MuJoCo environments need it")
    from embodied.stages.collect import CollectConfig, collect

    environment = replace(halfcheetah.ENVIRONMENT, max_steps=5)
    folder = tmp_path_factory.mktemp("cheetah") / "data"
    collect(CollectConfig(environment, {"name": "random"}, str(folder), episodes=20))
    return folder, environment


def test_halfcheetah_trains_and_evaluates_both(cheetah, tmp_path, monkeypatch):
    from embodied.dataset import Dataset

    monkeypatch.setenv("EMBODIED_RUNS", str(tmp_path))
    folder, environment = cheetah
    arms = {
        name: halfcheetah.trained(name, folder, 2, 4, 2, environment)
        for name in halfcheetah.ALGORITHMS
    }
    data = halfcheetah.behaviour(Dataset(folder))
    assert len(arms["iql"]["per_seed"]) == 2
    assert arms["iql"]["per_seed"] != arms["bc"]["per_seed"]
    found = {**halfcheetah.compare(arms, data), **halfcheetah.scores(arms, data)}
    assert "not D4RL's own" in found["note"]
    json.dumps(found, allow_nan=False)


def test_robust_reads_the_same_data(cheetah):
    folder, _ = cheetah
    task = robust.halfcheetah(folder)
    data = task.data(0)
    assert data.reward.mean() == pytest.approx(0.0, abs=1e-5)
    assert data.reward.std() == pytest.approx(1.0, abs=1e-4)
    assert len(robust.corrupted(data, 0.3, 0).source.observation) == 2 * len(data.source)


# --- recovery -----------------------------------------------------------------------------------


def finished_run(folder, weight=1.0, clock=1.0, package=b"weights"):
    (folder / "checkpoints").mkdir(parents=True)
    state = {"iql/actor": torch.tensor([weight]), recovery.CLOCK: torch.tensor(clock)}
    save_file(state, folder / "checkpoints/step_000000004.safetensors")
    (folder / "policy/0").mkdir(parents=True)
    (folder / "policy/0/policy.safetensors").write_bytes(package)
    return folder


def test_bits_leave_out_the_clock_alone(tmp_path):
    bits = recovery.bits_of(finished_run(tmp_path / "a"))
    assert (bits.step, list(bits.packages)) == (4, ["policy/0"])
    assert bits == recovery.bits_of(finished_run(tmp_path / "b", clock=9.0))
    assert bits != recovery.bits_of(finished_run(tmp_path / "c", weight=1.5))
    assert bits != recovery.bits_of(finished_run(tmp_path / "d", package=b"other"))


def test_the_phase_of_a_killed_run_is_told(tmp_path):
    run = tmp_path / "run"
    assert recovery.phase_of(None) == ("start", 0)
    (run / "checkpoints").mkdir(parents=True)
    assert recovery.phase_of(run) == ("start", 0)
    (run / "manifest.json").touch()
    assert recovery.phase_of(run) == ("training", 0)
    (run / "checkpoints/step_000000064.safetensors").touch()
    half = run / "checkpoints/.step_000000128.safetensors.abc"
    half.mkdir()
    assert recovery.phase_of(run) == ("writing a checkpoint", 64)
    half.rmdir()
    (run / "policy/0").mkdir(parents=True)
    assert recovery.phase_of(run) == ("export", 64)
    (run / "behaviour.json").touch()
    assert recovery.phase_of(run) == ("evaluation", 64)
    (run / "result.json").touch()
    assert recovery.phase_of(run) == ("report", 64)


# Stands for a training: describes itself, waits where it is to be killed, and goes on when resumed.
TRAINING = """
import pathlib, sys, time
runs, resumed = pathlib.Path(sys.argv[1]), sys.argv[2].startswith("resume=")
if not resumed:
    (runs / "run").mkdir(parents=True)
    (runs / "run/manifest.json").touch()
    print("ready", flush=True)
    time.sleep(float(sys.argv[2]))
(runs / "run/ended").write_text(sys.argv[2])
"""


@pytest.fixture(name="stand_in")
def _stand_in(monkeypatch):
    def start(arguments, runs):
        process = subprocess.Popen(
            [sys.executable, "-c", TRAINING, runs, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        process.stdout.readline()  # "ready", or the end of a resumed one
        return process

    monkeypatch.setattr(recovery, "start", start)


def test_a_killed_training_is_resumed(stand_in, tmp_path):
    trial = recovery.kill_and_resume(["60"], tmp_path / "runs", 0.0)
    assert (trial["phase"], trial["newest_checkpoint"]) == ("training", 0)
    resumed = (tmp_path / "runs/run/ended").read_text()
    assert resumed == f"resume={tmp_path / 'runs/run'}"


def test_a_training_that_ended_first_is_no_trial(stand_in, tmp_path):
    assert recovery.kill_and_resume(["0"], tmp_path / "runs", 60.0) is None
    assert (tmp_path / "runs/run/ended").read_text() == "0"


def test_a_training_that_fails_is_told(stand_in, tmp_path):
    with pytest.raises(SystemExit, match="train ended with 1"):
        recovery.finish(recovery.start(["soon"], tmp_path))
