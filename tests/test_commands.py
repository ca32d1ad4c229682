"""Every command through the real entry point, with tiny sizes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from embodied import __version__
from embodied.cli import COMMANDS, main, split_overrides
from embodied.dataset import Dataset
from embodied.files import read_json
from embodied.labels import read_labels

ROOT = Path(__file__).resolve().parent.parent
SMALL = ("steps=2", "curve_every=0", "evaluation_episodes=2", "policy.hidden=[8]", "videos=false")


# ---- the entry point -----------------------------------------------------------------------------


def test_help_of_every_command_needs_nothing_heavy(tmp_path, console):
    code = f"""
import sys
from embodied.cli import main
for command in [[], *([name] for name in {sorted(COMMANDS)})]:
    try:
        main([*command, "--help"])
    except SystemExit as end:
        assert end.code in (0, None), command
heavy = ("torch", "mujoco", "hydra", "omegaconf", "gymnasium", "pyarrow", "matplotlib")
print("HEAVY", [name for name in heavy if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=console.environment,
        check=True,
    )
    assert "HEAVY []" in done.stdout
    assert all(command.help in done.stdout for command in COMMANDS.values())


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_the_keys_and_choices_of_a_command(name, capsys):
    with pytest.raises(SystemExit):
        main([name, "--help"])
    shown = capsys.readouterr().out
    config = COMMANDS[name].config
    if config is not None:
        text = (ROOT / "configs" / f"{config}.yaml").read_text(encoding="utf-8")
        for key in re.findall(r"^(\w+):", text, re.MULTILINE):
            assert f"{key}:" in shown
        for group in re.findall(r"^  - (\w+):", text, re.MULTILINE):
            assert re.search(rf"^  {group}: \w", shown, re.MULTILINE), group


def test_version_exit_code_and_stream(tmp_path, console):
    assert console("--version", cwd=tmp_path).stdout.strip() == f"embodied-stack {__version__}"
    assert "invalid choice" in console("dance", cwd=tmp_path, code=2).stderr
    done = console("data", "info", "absent", cwd=tmp_path, code=2)
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1


def test_a_bug_exits_with_1_and_a_traceback(tmp_path, console):
    code = """
import sys
from embodied import cli
cli.COMMANDS["doctor"] = cli.Command("", (), lambda options, overrides: 1 / 0)
cli.console(["doctor"])
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=console.environment,
        check=False,
    )
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


def test_ctrl_c_exits_with_130_and_leaves_nothing_half_made(tmp_path, console):
    process = subprocess.Popen(
        [sys.executable, "-m", "embodied", "collect", "output=data", "episodes=1000000"],
        cwd=tmp_path,
        env=console.environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(600):  # until the collection is under way
        if list(tmp_path.glob(".data.*/data/*.npy")):
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told.strip() == "interrupted"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "plain", "overrides"),
    [
        (["reward", "push it"], ["reward", "push it"], []),
        (["reward", "set x=3 now"], ["reward", "set x=3 now"], []),
        (["reward", "env=reach"], ["reward"], ["env=reach"]),
        (["reward", "push", "env=reach"], ["reward", "push"], ["env=reach"]),
        (["reward", "--check", "env=reach"], ["reward", "--check"], ["env=reach"]),
        (["train", "-m", "policy=a,b", "+x.y=1"], ["train", "-m"], ["policy=a,b", "+x.y=1"]),
        (["label", "my=data", "reward=file"], ["label"], ["my=data", "reward=file"]),
        (["label", "./my=data", "label=a"], ["label", "./my=data"], ["label=a"]),
        (["evaluate", "runs/a=b"], ["evaluate"], ["runs/a=b"]),
        (["train", "data=with space"], ["train"], ["data=with space"]),
    ],
)
def test_overrides_are_told_from_arguments(arguments, plain, overrides):
    assert split_overrides(arguments) == (plain, overrides)


# ---- the commands --------------------------------------------------------------------------------


def test_doctor_prints_json(tmp_path, console):
    findings = json.loads(console("doctor", "--json", cwd=tmp_path).stdout)
    assert {item["name"] for item in findings} >= {"Python", "torch", "GPU", "rendering"}
    assert {item["status"] for item in findings} <= {"ok", "missing", "broken"}
    by_name = {item["name"]: item for item in findings}
    assert by_name["Python"]["status"] == by_name["torch"]["status"] == "ok"


def test_doctor_tells_what_is_broken_and_how_to_mend_it(monkeypatch, capsys):
    from embodied import doctor

    def broken():
        return doctor.Finding("thing", "broken", "it is gone", "put it back")

    monkeypatch.setattr(doctor, "CHECKS", (broken, doctor.check_python))
    assert main(["doctor"]) == 2
    shown = capsys.readouterr()
    assert "-> put it back" in shown.out
    assert shown.err == "embodied doctor: thing: it is gone; put it back\n"


def test_a_reward_is_made_kept_shown_and_used(place, capsys):
    assert main(["reward", "push the cube onto the target", "--check"]) == 0
    shown = capsys.readouterr().out
    assert "def reward(state, action, next_state):" in shown
    assert "ordering" in shown
    assert "exploit" in shown
    run = next(Path("runs").glob("*-reward*/reward/reward.py")).parent.parent
    assert main(["label", "data", "reward=saved", f"path={run}", "label=again"]) == 0
    assert read_labels(Dataset("data"), "again")[1]["reward"]["kind"] == "text2reward"


def test_train_sweeps_policies(place, capsys):
    assert main(["train", "-m", "policy=iql,bc", "data=data", "seeds=[0]", *SMALL]) == 0
    results = [read_json(path) for path in Path("runs").glob("*/result.json")]
    assert {item["policy"] for item in results} == {"iql", "bc"}
    assert capsys.readouterr().out.count("behaviour") == 2


def test_reach_from_data_to_policy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["collect", "env=reach", "episodes=8", "output=my data"]) == 0
    assert main(["label", "my data"]) == 0
    assert main(["train", "env=reach", "data=my data", "seeds=[0]", *SMALL]) == 0
    (path,) = Path("runs").glob("*/result.json")
    assert read_json(path)["task"] == "reach"


def test_a_gymnasium_environment_from_data_to_policy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pendulum = ("env=gymnasium", "env.id=Pendulum-v1")
    assert main(["collect", *pendulum, "behaviour=random", "episodes=4", "output=data"]) == 0
    dataset = Dataset("data")
    assert dataset.info.environment == "Pendulum-v1"
    assert dataset.has("column.environment_reward")
    assert main(["label", "data", "reward=constant"]) == 0
    assert main(["train", *pendulum, "data=data", "seeds=[0]", *SMALL]) == 0
    (path,) = Path("runs").glob("*/result.json")
    result = read_json(path)
    assert result["task"] == "Pendulum-v1"
    assert result["success"] is None
    assert result["return"]["mean"] < 0
    assert all(row["return"]["mean"] < 0 for row in result["controls"].values())


def test_a_run_is_compared_with_its_controls(run, console, place):
    shown = console("compare", "run", "run:bc", "name=both", cwd=place).stdout
    assert "B  run:bc" in shown
    (folder,) = (place / "runs").glob("*-both")
    assert {item.name for item in folder.iterdir()} == {
        *("compare.html", "config.yaml", "manifest.json", "result.json")
    }


def test_collecting_is_repeatable_and_the_seed_matters(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert main(["collect", "episodes=6", f"output={name}", f"seed={seed}"]) == 0
    observations = [np.asarray(Dataset(name).column("observation")) for name in "abc"]
    np.testing.assert_array_equal(observations[0], observations[1])
    assert not np.array_equal(observations[0], observations[2])


# ---- data ----------------------------------------------------------------------------------------


def test_data_info(place, capsys):
    assert main(["data", "info", "data"]) == 0
    shown = capsys.readouterr().out
    dataset = Dataset("data")
    assert "data: push, 64 episodes (50-50 steps), 3200 transitions" in shown
    assert f"success: {dataset.episode_ends('column.success').mean():.1%}" in shown
    assert "state.cube_position: float32 [3264, 3]" in shown
    assert "label default: file, mean" in shown


def test_data_filter_keeps_what_was_asked_for(place):
    ends = Dataset("data").episode_ends("column.success")
    for wanted in (True, False):
        output = f"kept-{wanted}"
        assert main(["data", "filter", "data", f"success={wanted}", f"output={output}"]) == 0
        kept = Dataset(output)
        assert kept.num_episodes == (ends == wanted).sum()
        assert (kept.episode_ends("column.success") == wanted).all()
        assert kept.info.origin["from"] == [Dataset("data").digest]


def test_data_filter_drops_episodes_that_are_not_finite(place):
    whole = Dataset("data")
    column = np.load(place / "data" / "observation.npy", mmap_mode="r+")
    column[51 * 3 + 7, 0] = np.nan  # in episode 3
    column.flush()
    assert main(["data", "filter", "data", "output=clean"]) == 0
    clean = Dataset("clean")
    clean.check_finite()
    assert clean.num_episodes == 63
    np.testing.assert_array_equal(clean.episode(3).action, whole.episode(4).action)
    assert main(["data", "filter", "data", "output=dirty", "finite=false"]) == 0
    assert Dataset("dirty").num_episodes == 64


def test_data_split_and_merge_keep_every_episode_once(place):
    assert main(["data", "split", "data", "output=part", "fraction=0.75"]) == 0
    assert [Dataset(name).num_episodes for name in ("part-a", "part-b")] == [48, 16]
    assert main(["data", "merge", "part-a", "part-b", "output=whole"]) == 0

    def fingerprints(name):
        dataset = Dataset(name)
        return sorted(dataset.episode(i).observation.tobytes() for i in range(dataset.num_episodes))

    assert fingerprints("whole") == fingerprints("data")
