"""``embodied improve`` on a run that was trained online, with PPO itself."""

import numpy as np
import pytest

from embodied import cli
from embodied.environments import EnvConfig
from embodied.files import read_json
from embodied.runs import RunFolder, read_metrics
from embodied.stages.labelled import DataConfig
from embodied.stages.reflect import SELECTION_SEED_OFFSET
from embodied.stages.train import TrainConfig, train
from tests.embodied.improving import Server, digests, program

pytest.importorskip("stable_baselines3", reason="stable-baselines3 is not installed")


@pytest.fixture(name="server")
def _server():
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


@pytest.fixture(name="run")
def _run(runs_here, tmp_path, server, monkeypatch):
    """A run of two seeds that learnt online for a moment from a hand-written program."""
    monkeypatch.setattr("embodied.report.charts.available", lambda: False)  # takes long
    server.begin(runs_here)
    (tmp_path / "mine.py").write_text(program(1))
    return train(
        TrainConfig(
            env=EnvConfig("push", num_envs=4, max_steps=10),
            data=DataConfig(()),
            policy={"name": "ppo", "hidden": [8], "batch_size": 20, "rollout_steps": 40},
            reward={"name": "file", "path": str(tmp_path / "mine.py")},
            seeds=(0, 1),
            steps=80,
            threads=1,
            log_every=40,
            curve_every=0,
            curve_episodes=2,
            evaluation_episodes=2,
            videos=False,
        )
    )


def improve(*arguments):
    assert cli.main(["improve", *map(str, arguments)]) == 0


def test_a_persons_word_trains_anew_on_the_next_program(run, server):
    improve(run.path, "leave it there", *server.provider)
    (first,) = (run.path / "rounds").iterdir()
    assert (first / "reward" / "reward.py").read_text() == program(5)
    assert len(list((first / "policy").iterdir())) == 2
    assert "reward/progress" in "".join(
        key for line in read_metrics(RunFolder(first)) for key in line
    )
    assert read_json(first / "result.json")["reward"]["said"] == "leave it there"


def test_reflection_trains_its_candidates_in_turn_and_tells_how_it_went(run, server, capsys):
    improve(run.path, "rounds=2", "samples=2", "provider.concurrency=1", *server.provider)
    first, second = (run.path / "rounds" / number for number in "12")
    selection = read_json(first / "selection.json")
    assert set(selection["candidates"]) == {"incumbent", "sample_0", "sample_1"}
    for arm, outcome in selection["candidates"].items():
        result = read_json(first / "candidates" / arm / "result.json")
        assert result["evaluation_seed"] == 1_000_000 + SELECTION_SEED_OFFSET
        assert outcome == {key: result[key] for key in ("success", "return")}
    best = selection["best"]
    told = server.calls[2][-1]["content"]
    assert "(environment steps 40, 80)" in told or "(environment steps 8, " in told
    metrics = read_metrics(RunFolder(first / "candidates" / best["arm"]))
    means = [np.mean(line["policy/reward/progress"]) for line in metrics]
    assert f"- term progress: {', '.join(f'{mean:.3g}' for mean in means)} (max" in told
    assert read_json(second / "result.json")["evaluation_seed"] == 1_000_000

    before = digests(first)
    improve(f"resume={run.path}")
    assert digests(first) == before, "a finished round is left alone"


def test_a_candidate_that_a_kill_cut_short_is_trained_anew(run, server):
    def stopped(config, place):
        if place.path.name == "sample_1":
            (place.path / "half").mkdir()
            raise KeyboardInterrupt
        return train(config, place)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("embodied.stages.reflect_online.train.train", stopped)
        given = ["rounds=1", "samples=2", "provider.concurrency=1", *server.provider]
        assert cli.main(["improve", str(run.path), *given]) == 130
    candidates = run.path / "rounds" / "1" / "candidates"
    finished = digests(candidates / "sample_0")
    improve(f"resume={run.path}")
    assert digests(candidates / "sample_0") == finished
    assert not (candidates / "sample_1" / "half").exists()
    assert (candidates / "sample_1" / "result.json").is_file()
    assert len(server.calls) == 2, "nothing that was answered is asked again"
