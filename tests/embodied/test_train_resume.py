"""A training that was cut short goes on to the same bits as one that never was."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from embodied import cli
from embodied.errors import UserError
from embodied.runs import RunFolder, read_metrics
from embodied.stages.label import LabelConfig, label
from embodied.stages.labelled import DataConfig
from embodied.stages.train import resume, train

ROOT = Path(__file__).resolve().parents[2]


def cut_back(run, step):
    """Make a finished run look as if it was killed just after its checkpoint at ``step``."""
    for path in (run.path / "checkpoints").glob("step_*"):
        if int(path.stem.removeprefix("step_")) > step:
            path.unlink()
    for name in ("policy", "controls", "evaluations"):
        shutil.rmtree(run.path / name, ignore_errors=True)
    (run.path / "result.json").unlink()


def test_a_cut_back_run_ends_in_the_same_weights_and_log(config, packages):
    run = train(config)
    before, lines = packages(run), read_metrics(run)
    cut_back(run, 64)  # of 64 and 100
    assert resume(str(run.path)) == run
    assert packages(run) == before
    without_clock = [
        [{k: v for k, v in line.items() if k != "wall_s"} for line in item]
        for item in (read_metrics(run), lines)
    ]
    assert without_clock[0] == without_clock[1]


def test_a_run_killed_while_packages_were_written_goes_on(config, packages):
    run = train(replace(config, controls=False))
    before = packages(run)
    shutil.rmtree(run.path / "policy" / "1")
    (run.path / "policy" / ".1.abcd" / "1").mkdir(parents=True)  # what a kill leaves behind
    resume(str(run.path))
    assert packages(run) == before


def test_a_run_without_checkpoints_starts_again(config, packages):
    run = train(replace(config, controls=False))
    before = packages(run)
    cut_back(run, 0)
    resume(str(run.path))
    assert packages(run) == before


def damage_newest(run):
    newest = sorted((run.path / "checkpoints").iterdir())[-1]
    newest.write_bytes(newest.read_bytes()[:-100])


def other_config(run):
    path = run.path / "config.yaml"
    path.write_text(path.read_text().replace("- 16", "- 17"))


def other_seeds(run):
    path = run.path / "config.yaml"
    values = path.read_text()
    assert "seeds:\n- 0\n- 1\n" in values
    path.write_text(values.replace("seeds:\n- 0\n- 1\n", "seeds:\n- 0\n"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_newest, "is damaged"),
        (other_config, "does not fit its config.yaml"),
        (other_seeds, "does not fit its config.yaml"),
    ],
)
def test_a_checkpoint_that_cannot_be_used_is_told(config, damage, message):
    run = train(replace(config, controls=False))
    damage(run)
    with pytest.raises(UserError, match=message):
        resume(str(run.path))


def test_going_on_with_another_reward_is_refused(config, copied):
    own = replace(config, data=DataConfig((str(copied.folder),)), controls=False)
    run = train(own)
    cut_back(run, 64)  # of 64 and 100
    label(copied.folder, LabelConfig({"name": "constant", "value": 1.0}, {}))
    with pytest.raises(UserError, match=r"the reward of .* changed"):
        resume(str(run.path))
    assert not (run.path / "policy").exists()


# --- real signals -----------------------------------------------------------------------------


def overrides(dataset):
    return [
        *("env=push", "env.max_steps=10", f"data={dataset.folder}", "seeds=[0,1]", "threads=1"),
        *("policy.hidden=[32,32]", "policy.batch_size=64", "steps=1500", "checkpoint_every=50"),
        *("curve_every=0", "evaluation_episodes=2", "videos=false", "controls=false"),
    ]


def start_training(dataset, runs):
    """Start a real process and return it with its run, once the first checkpoint is there."""
    environment = {**os.environ, "EMBODIED_RUNS": str(runs), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "embodied", "train", *overrides(dataset)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    while not list(runs.glob("*/checkpoints/step_*.safetensors")):
        assert process.poll() is None, process.stderr.read().decode()
        time.sleep(0.01)
    return process, RunFolder(next(runs.iterdir()))


@pytest.fixture(scope="module", name="uninterrupted")
def _uninterrupted(push_dataset, tmp_path_factory, packages):
    """The packages of the same training, never interrupted, in this process."""
    runs = tmp_path_factory.mktemp("uninterrupted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMBODIED_RUNS", str(runs))
        assert cli.main(["train", *overrides(push_dataset)]) == 0
    return packages(RunFolder(next(runs.iterdir())))


def test_a_killed_run_goes_on_bit_for_bit(push_dataset, tmp_path, uninterrupted, packages):
    process, run = start_training(push_dataset, tmp_path / "runs")
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (run.path / "policy").exists(), "it was killed in the middle of training"
    assert cli.main(["train", f"resume={run.path}"]) == 0
    assert packages(run) == uninterrupted


def test_ctrl_c_leaves_a_checkpoint_and_the_run_goes_on(
    push_dataset, tmp_path, uninterrupted, packages
):
    process, run = start_training(push_dataset, tmp_path / "runs")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    assert b"Traceback" not in said
    assert not (run.path / "policy").exists(), "it stopped in the middle of training"
    assert list((run.path / "checkpoints").glob("step_*.safetensors"))
    assert cli.main(["train", f"resume={run.path}"]) == 0
    assert packages(run) == uninterrupted
