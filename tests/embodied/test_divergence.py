"""Networks that become NaN: named and left out, and the ones beside them unharmed."""

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest

from embodied.errors import UserError
from embodied.files import read_json
from embodied.results import DIVERGED as FILE
from embodied.runs import RunFolder, read_metrics
from embodied.stages.divergence import Divergence, without_nan
from embodied.stages.train import resume, train
from policies.package import load_package

SMALL = {"name": "iql", "hidden": [16, 16], "batch_size": 32}


@pytest.fixture(name="run")
def _run(tmp_path):
    return RunFolder(tmp_path)


def test_a_network_is_noted_once_at_the_step_where_it_was_first_seen(run, capsys):
    diverged = Divergence(run, (5, 7), resumed_at=0)
    diverged.note({"policy/loss": [1.0, 2.0], "bc/loss": [0.0, 0.0]}, 64)
    assert not (run.path / FILE).exists()
    diverged.note({"policy/loss": [1.0, math.nan], "bc/loss": [math.inf, 0.0]}, 128)
    diverged.note({"policy/loss": [1.0, math.nan], "bc/loss": [math.nan, 0.0]}, 192)
    assert read_json(run.path / FILE) == {"bc": {"5": 128}, "policy": {"7": 128}}
    assert diverged.has("policy", 7)
    assert diverged.has("bc", 5)
    assert not diverged.has("policy", 5)
    assert not diverged.has("true_reward", 7)
    told = capsys.readouterr().out.splitlines()
    assert told == [
        "bc: seed 5 diverged by update 128 and is left out",
        "policy: seed 7 diverged by update 128 and is left out",
    ]


def test_what_a_kill_made_undone_has_not_happened(run):
    Divergence(run, (5, 7), resumed_at=0).note({"policy/loss": [1.0, math.nan]}, 128)
    assert Divergence(run, (5, 7), resumed_at=128).has("policy", 7)
    assert not Divergence(run, (5, 7), resumed_at=64).has("policy", 7)


def test_without_the_policy_there_is_nothing_to_go_on_with(run):
    diverged = Divergence(run, (5, 7), resumed_at=0)
    diverged.note({"true_reward/loss": [math.nan, math.nan]}, 64)  # a control alone may be gone
    diverged.note({"policy/loss": [math.nan, 1.0]}, 64)
    with pytest.raises(UserError, match="every seed of the policy became NaN") as caught:
        diverged.note({"policy/loss": [math.nan, -math.inf]}, 128)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[]", '{"policy": 3}', '{"policy": {"0": "x"}}', "{"])
def test_a_damaged_file_is_told_in_one_line(run, text):
    (run.path / FILE).write_text(text)
    with pytest.raises(UserError) as caught:
        Divergence(run, (0,), resumed_at=0)
    assert "\n" not in str(caught.value)
    assert FILE in str(caught.value)


def test_a_line_of_metrics_has_null_where_json_has_no_number():
    line = {"step": 3, "a": [1.0, math.nan, -math.inf], "b": math.nan, "c": None, "d": [2]}
    found = without_nan(line)
    assert found == {"step": 3, "a": [1.0, None, None], "b": None, "c": None, "d": [2]}
    json.dumps(found, allow_nan=False)


# --- end to end -------------------------------------------------------------------------------


def wild(config, rates=(1e-3, 1e30, 1e-3)):
    """Three seeds, the second at an absurd learning rate."""
    policy = {**SMALL, "learning_rate": list(rates)}
    return replace(config, policy=policy, seeds=(0, 1, 2), curve_every=50, curve_episodes=1)


def test_one_wild_seed_is_left_out_of_everything_and_harms_no_other(config, packages):
    run = train(wild(config))
    sound = train(replace(wild(config, (1e-3, 1e-3)), seeds=(0, 2)))
    found = packages(run)
    assert found.keys() == packages(sound).keys()
    assert "policy/2" in found
    for place in found:  # the same sums, vectorised over another number of networks
        weights, expected = (load_package(item.path / place).weights for item in (run, sound))
        for key, value in expected.items():
            np.testing.assert_allclose(weights[key], value, rtol=1e-5, atol=1e-6)
    result = read_json(run.path / "result.json")
    assert result["seeds"] == [0, 2]
    assert len(result["success"]["per_seed"]) == 2
    assert any("policy: seed 1 became NaN" in note for note in result["notes"])
    lines = read_metrics(run)
    assert "NaN" not in (run.path / "metrics.jsonl").read_text()
    assert lines[-1]["policy/value/loss"][1] is None
    expected = read_metrics(sound)[-1]["policy/value/loss"]
    assert lines[-1]["policy/value/loss"][::2] == pytest.approx(expected, rel=1e-4)
    assert lines[-1]["policy/evaluation/success"][1] is None
    page = (run.path / "report.html").read_text()
    assert "seed 1 became NaN" in page
    assert "nan" not in page.lower().replace("became nan", "")


def test_going_on_keeps_what_is_left_out(config, packages):
    run = train(replace(wild(config), controls=False, curve_every=0))
    before, noted = packages(run), read_json(run.path / FILE)
    sorted((run.path / "checkpoints").glob("step_*"))[-1].unlink()
    for name in ("policy", "evaluations"):
        shutil.rmtree(run.path / name)
    (run.path / "result.json").unlink()
    resume(str(run.path))
    assert packages(run) == before
    assert read_json(run.path / FILE) == noted


def test_when_every_seed_is_wild_the_last_checkpoint_stays_and_one_line_says_why(config, tmp_path):
    with pytest.raises(UserError, match=r"lower policy\.learning_rate") as caught:
        train(replace(wild(config, (1e30,) * 3), controls=False))
    assert "\n" not in str(caught.value)
    run = RunFolder.open(next((tmp_path / "runs").iterdir()))
    assert not list(run.path.glob("checkpoints/step_*"))
    assert not (run.path / "policy").exists()
