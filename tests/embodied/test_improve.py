"""``embodied improve``: rounds that are written, trained, shown, and finished after any kill."""

import json
import random
import shutil

import pytest

from embodied import cli
from embodied.environments import EnvConfig
from embodied.errors import UserError
from embodied.files import read_json
from embodied.rounds import read_rounds
from embodied.runs import numbered
from embodied.stages.improve import resume
from embodied.stages.labelled import DataConfig
from embodied.stages.loop import ImproveConfig, training_of
from embodied.stages.reflect import choose, mean_over_seeds, merit, note
from embodied.stages.train import TrainConfig, train
from tests.embodied.improving import Server, Zygote, copy_run, digests, program

SIZES = ["rounds=2", "samples=2", "provider.concurrency=1"]


@pytest.fixture(scope="module", name="server")
def _server():
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


@pytest.fixture(scope="module", name="base")
def _base(push_dataset, tmp_path_factory):
    """A run of two seeds that was trained for a moment and evaluated."""
    config = TrainConfig(
        env=EnvConfig("push", max_steps=10),
        data=DataConfig((str(push_dataset.folder),)),
        policy={"name": "iql", "hidden": [16, 16], "batch_size": 32},
        seeds=(0, 1),
        steps=128,
        controls=False,
        threads=1,
        log_every=64,
        checkpoint_every=64,
        curve_every=0,
        curve_episodes=2,
        evaluation_episodes=3,
        videos=False,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMBODIED_RUNS", str(tmp_path_factory.mktemp("runs")))
        return train(config)


@pytest.fixture(name="begin")
def _begin(base, push_dataset, server, tmp_path, monkeypatch):
    """Makes a fresh copy of the run and of its data, in a folder of runs of its own."""

    def make(name="runs"):
        runs = tmp_path / name
        data = shutil.copytree(push_dataset.folder, tmp_path / f"{name}-data")
        run = copy_run(base.path, runs / "base", data)
        monkeypatch.setenv("EMBODIED_RUNS", str(runs))
        monkeypatch.setattr("embodied.report.charts.available", lambda: False)  # takes long
        server.begin(runs)
        return run

    return make


def improve(*arguments):
    assert cli.main(["improve", *map(str, arguments)]) == 0


def test_a_persons_word_becomes_the_next_program(begin, server, capsys):
    run = begin()
    before = read_json(run / "result.json")
    improve(run, "leave it = <there>", *server.provider)
    first = run / "rounds" / "1"
    assert (first / "reward" / "reward.py").read_text() == program(5)
    assert len(list((first / "policy").iterdir())) == 2
    assert read_json(first / "result.json")["reward"]["said"] == "leave it = <there>"
    assert read_json(run / "result.json") == before, "what was there stays as it was"
    said = capsys.readouterr().out
    assert "+    progress = 5.0 * (before - after)" in said
    assert "spent: 1 of at most 20 calls, 150 tokens" in said

    left = digests(run / "rounds")
    improve(f"resume={run}")
    assert digests(run / "rounds") == left, "what is finished is left alone"
    assert len(server.calls) == len(numbered(first / "evaluations")) == 1
    for page in (run / "report.html", first / "report.html"):
        text = page.read_text()
        assert "Rounds of improvement" in text
        assert "leave it = &lt;there&gt;" in text
        assert "<ins>+    progress = 5.0 * (before - after)</ins>" in text

    improve(run, "now to the left", *server.provider)
    asked = [item["content"] for item in server.calls[1]]
    assert len(asked) == 6
    assert "over evaluation episodes: progress" in asked[3]
    assert "says: leave it = <there>" in asked[3]
    assert program(5) in asked[4]
    assert "says: now to the left" in asked[5]
    assert [item.said for item in read_rounds(run)] == ["", "leave it = <there>", "now to the left"]


def test_reflection_trains_its_candidates_and_keeps_the_best(begin, server):
    run = begin()
    improve(run, *SIZES, *server.provider)
    assert len(server.calls) == 4
    first, second = (read_json(run / "rounds" / n / "selection.json") for n in "12")
    assert set(first["candidates"]) == {"incumbent", "sample_0", "sample_1"}
    assert set(second["candidates"]) == {"sample_0", "sample_1"}
    found = {(1, k): v for k, v in first["candidates"].items()}
    found |= {(2, k): v for k, v in second["candidates"].items()}
    best = second["best"]
    assert merit(best) == max(map(merit, found.values()))
    assert found[best["round"], best["arm"]]["success"] == best["success"]
    place = run / "rounds" / str(best["round"]) / "samples" / best["arm"][-1] / "reward"
    source = run if best["arm"] == "incumbent" else place.parent
    kept = (run / "rounds" / "2" / "reward" / "reward.py").read_text()
    assert kept == (source / "reward" / "reward.py").read_text()
    told = server.calls[2][-1]["content"]
    shown = next(line for line in told.splitlines() if line.startswith("- term progress: "))
    assert shown.count(",") == 3, "two points of training, then max, mean and min"
    assert "- episode length: 10, 10 (max 10, mean 10, min 10)" in told
    assert first["note"] in told
    result = read_json(run / "rounds" / "2" / "result.json")
    assert result["evaluation_seed"] == 1_000_000
    assert (
        result["reward"]["source_sha256"]
        == read_json(run / "rounds" / "2" / "reward" / "provenance.json")["source_sha256"]
    )
    assert not (run / "rounds" / "1" / "policy").exists(), (
        "only the last round's is trained in full"
    )


def test_a_loop_that_is_killed_again_and_again_ends_the_same(begin, server, tmp_path):
    rng = random.Random()
    seed = rng.randrange(2**32)
    rng.seed(seed)
    untouched = begin("untouched")
    improve(untouched, *SIZES, *server.provider)
    expected, calls = digests(untouched / "rounds"), len(server.calls)

    run = begin("killed")
    rounds = run / "rounds"
    moments = {
        "asked": lambda: server.kept() >= 1,
        "trained": lambda: any((rounds / "1" / "candidates").glob("checkpoints/*")),
        "selected": lambda: (rounds / "1" / "selection.json").exists(),
        "asked again": lambda: server.kept() >= 3,
        "labelled": lambda: (rounds / "2" / "manifest.json").exists(),
        "exported": lambda: (rounds / "2" / "policy").exists(),
    }
    zygote = Zygote(run.parent, tmp_path)
    try:
        command = [str(run), *SIZES, *server.provider]
        ended = []
        for moment in moments.values():
            ended.append(
                zygote.run("improve", *command, kill_when=moment, wait_s=rng.uniform(0, 0.05))
            )
            if (rounds / "1" / "request.json").exists():
                command = [f"resume={run}"]
        assert set(ended) <= {0, -9}, f"seed {seed}: {ended}\n{zygote.said()}"
        assert ended.count(-9) >= 4, f"seed {seed}: {ended}"
        assert zygote.run("improve", *command) == 0, zygote.said()
    finally:
        zygote.close()
    assert digests(rounds) == expected, f"seed {seed}"
    requests = [json.loads(line)["request"] for line in server.log.read_text().splitlines()]
    assert len(requests) == len(set(requests)) == calls, "nothing that was stored was asked again"
    assert calls <= len(server.calls) <= calls + ended.count(-9), "a kill loses one answer at most"


def test_the_budget_holds_over_the_whole_loop(begin, server, capsys):
    run = begin()
    improve(run, *SIZES, *server.provider, "provider.max_calls=3")
    assert len(server.calls) == 3
    told = read_json(run / "rounds" / "2" / "samples" / "samples.json")
    assert told["accepted"] == ["0"]
    assert "cap of 3 calls" in told["refused"]["1"]
    assert "3 of at most 3 calls, 450 tokens" in capsys.readouterr().out
    spent = read_json(run / "rounds" / "1" / "spent.json")
    assert (spent["calls"], spent["tokens"]) == (3, 450)


def test_no_time_left_means_no_further_round(begin, server):
    run = begin()
    improve(run, *SIZES, *server.provider, "provider.max_seconds=0")
    assert server.calls == []
    for number in "12":
        found = read_json(run / "rounds" / number / "selection.json")
        assert "cap of 0 s is reached" in found["note"]
    kept = (run / "rounds" / "2" / "reward" / "reward.py").read_text()
    assert kept == (run / "reward" / "reward.py").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say in a sentence what was wrong"),
        (["leave it there", "rounds=2"], "one of them"),
        (["rounds=0"], "rounds is 0"),
        (["rounds=1", "samples=0"], "samples is 0"),
    ],
)
def test_what_cannot_be_done_is_told_before_anything_is_written(begin, arguments, message, capsys):
    run = begin()
    assert cli.main(["improve", str(run), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (run / "rounds").exists()


def test_a_run_without_reward_code_is_refused(begin, capsys):
    run = begin()
    shutil.rmtree(run / "reward")
    assert cli.main(["improve", str(run), "leave it there"]) == 2
    assert "holds no reward code to improve" in capsys.readouterr().err


def test_nothing_to_resume_is_told(begin):
    with pytest.raises(UserError, match="began no round"):
        resume(begin())


def test_a_run_of_reward_alone_gets_its_next_program(begin, server, monkeypatch, capsys):
    run = begin()
    (run / "config.yaml").write_text("command: reward\nenv: {name: push}\n")
    for name in ("policy", "checkpoints", "evaluations"):
        shutil.rmtree(run / name)
    monkeypatch.setattr("embodied.stages.loop.CHECK_EPISODES", 16)
    improve(run, "leave it there", *server.provider)
    kept = run / "rounds" / "1" / "reward"
    assert (kept / "reward.py").read_text() == program(5)
    assert "embodied label DATA reward=saved path=" in capsys.readouterr().out
    assert cli.main(["improve", str(run), "rounds=1", *server.provider]) == 2
    assert "data=FOLDER" in capsys.readouterr().err

    (kept / "provenance.json").unlink()  # as a kill leaves it
    assert cli.main(["improve", str(run), "and now?", *server.provider]) == 2
    assert f"embodied improve resume={run}" in capsys.readouterr().err
    improve(f"resume={run}")
    assert (kept / "provenance.json").is_file()
    assert len(server.calls) == 1


def test_a_run_of_reward_alone_is_trained_on_the_data_given():
    data = DataConfig(("somewhere",))
    config = ImproveConfig({}, data, steps=7, seeds=(4,))
    env = {"name": "push", "max_steps": 9}
    training = training_of("reward", {"env": env}, config)
    assert (training.steps, training.seeds, training.data) == (7, (4,), data)
    assert training.env == EnvConfig("push", max_steps=9)
    assert training.policy["name"] == "iql"
    assert training_of("reward", {"env": env}, ImproveConfig({}, DataConfig(()))) is None


def outcome(mean):
    return {"success": {"mean": mean, "ci95": [0, 1], "per_seed": [mean]}, "return": None}


def test_the_incumbent_stays_unless_a_candidate_is_above_it():
    best = choose({"incumbent": outcome(0.5), "sample_0": outcome(0.5)}, {}, 1)
    assert (best["arm"], best["round"]) == ("incumbent", 1)
    assert choose({"sample_0": outcome(0.4)}, best, 2) == best
    better = choose({"sample_0": outcome(0.6), "sample_1": outcome(0.7)}, best, 2)
    assert (better["arm"], better["round"]) == ("sample_1", 2)
    assert choose({}, {}, 1) == {}


def test_returns_are_compared_where_there_is_no_success():
    assert merit({"success": None, "return": {"mean": 3.0}}) == 3.0
    assert merit({"success": None, "return": None}) == -float("inf")
    assert mean_over_seeds([1.0, None, 3.0]) == 2.0


def test_a_round_is_told_in_words():
    found = {"incumbent": outcome(0.25), "sample_0": outcome(0.5)}
    text = note(found, choose(found, {}, 1), 1, 1, 2, "")
    assert text == (
        "1 of 2 programs passed their checks and differ. Mean success over training seeds on the "
        "starts for selection: incumbent 0.25, sample_0 0.5. Best so far: sample_0 of this round "
        "with 0.5."
    )


def test_an_unknown_key_is_refused(begin, capsys):
    assert cli.main(["improve", str(begin()), "leave it there", "sample=3"]) == 2
    assert "unknown config key" in capsys.readouterr().err
    assert ImproveConfig({}, DataConfig(())).samples == 4
