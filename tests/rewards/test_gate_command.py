"""The gate as the commands use it: what is printed, what is kept, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from embodied.cli import main
from embodied.environments import require_task
from embodied.errors import UserError
from embodied.files import read_json
from embodied.stages.reward import check_table
from embodied.types import Field, RewardContext
from rewards import makers, provenance
from rewards.checks import diagnostics
from rewards.file import EXPERTS, reference, require_expert
from rewards.gate.exploit import first_sequences, next_sequences
from rewards.gate.ordering import Outcomes
from rewards.gate.report import Gate
from sim.tasks.reach import ReachTask

MEASURES = {
    *("edges", "ordering", "correlation", "epic", "starc", "saturation", "dominance", "exploit")
}


def test_the_command_prints_the_verdicts_and_keeps_them(tmp_path, capsys):
    settings = ("env=reach", "env.num_envs=16", "env.max_steps=20", "check_episodes=16")
    assert main(["reward", "reward=expert", "--check", *settings]) == 0
    printed = capsys.readouterr().out
    (run,) = (tmp_path / "runs").glob("*-reward")
    kept = read_json(run / "reward" / "diagnostics.json")
    assert kept["schema_version"] == provenance.DIAGNOSTICS_VERSION
    assert set(kept["measures"]) == MEASURES
    assert {"transitions", "scale", "terms", "unexplained", "saturation", "agreement"} <= set(kept)
    assert check_table(kept) in printed
    assert f"verdict: {kept['verdict']}" in printed
    for name, item in kept["measures"].items():
        assert f"{name}: {item['sentence']}" in printed
    told = read_json(run / "reward" / "provenance.json")
    assert (told["kind"], told["file"]) == ("expert", "reach.reward")


def test_a_refusal_by_the_gate_leaves_no_reward(tmp_path, capsys):
    path = tmp_path / "away.py"
    path.write_text(
        "def reward(state, action, next_state):\n"
        "    gap = next_state.tip_position - next_state.target_position\n"
        "    near = 1.0 / np.linalg.norm(gap, axis=-1)\n"
        '    return near, {"near": near}\n',
        encoding="utf-8",
    )
    given = ("reward=file", f"path={path}", "env=reach", "env.num_envs=8", "check_episodes=8")
    assert main(["reward", *given]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "tip_position and target_position coincide" in told
    assert not list((tmp_path / "runs").glob("*/reward/provenance.json"))


def test_a_task_without_an_expert_is_told(task):
    task.name = "nothing"
    with pytest.raises(UserError, match=r"no expert reward for nothing, only for: .*push.*reach"):
        require_expert(task)
    assert reference(None, task) is None


def test_another_reference_is_read_from_its_file(tmp_path, task, good):
    path = tmp_path / "other.py"
    path.write_text(good, encoding="utf-8")
    assert reference(path, task).program.source == good
    path.write_text("import os", encoding="utf-8")
    with pytest.raises(UserError, match="exactly one function"):
        reference(path, task)
    with pytest.raises(UserError, match="does not exist"):
        reference(tmp_path / "missing.py", task)


def test_every_expert_is_in_the_dialect_of_its_task():
    for path in EXPERTS.glob("*.reward"):
        assert reference(None, require_task(path.stem)) is not None


@pytest.mark.parametrize(
    ("instruction", "own"),
    [(None, True), (ReachTask.instruction, True), ("wave at the target", False)],
)
def test_only_the_tasks_own_sentence_lets_its_success_refuse(
    instruction, own, monkeypatch, tmp_path, make_transitions
):
    given = {}
    monkeypatch.setattr(makers, "Gate", lambda *args, **options: given.update(options))
    context = RewardContext(tmp_path, ReachTask(), make_transitions(8), instruction=instruction)
    makers.gate_of(context)
    assert given["own_sentence"] is own
    assert makers.gate_of(replace(context, sample=None)) is None


def test_a_gate_measures_a_reward_once(task, good, make_transitions, tmp_path):
    sample = make_transitions(64)
    gate = Gate(task, sample)
    reward = provenance.accept(good, task, sample, {"kind": "file"}, gate=gate)
    report = gate.report(reward)
    assert gate.report(reward) is report
    provenance.save(reward, tmp_path, sample, gate=gate)
    kept = read_json(tmp_path / "diagnostics.json")
    assert kept["verdict"] == report.json()["verdict"]
    again = diagnostics(reward, sample, sample.columns["success"])
    assert {key: kept[key] for key in again} == again


def test_a_table_without_verdicts_holds_the_terms(task, good, make_transitions):
    sample = make_transitions(64)
    reward = provenance.accept(good, task, sample, {"kind": "file"})
    table = check_table(diagnostics(reward, sample))
    assert [line.split()[0] for line in table.splitlines()] == [
        "term",
        "progress",
        "reach",
        "bonus",
    ]


# ---- the sequences that are tried ----------------------------------------------------------------


def test_the_first_sequences_hold_every_kind():
    sequences = first_sequences(np.random.default_rng(0), 16, 3)
    assert np.abs(sequences).max() <= 1
    assert not sequences[0].any()
    extreme, constant = np.abs(sequences[1::4]) == 1, sequences[2::4] == sequences[2::4, :1]
    assert extreme.all()
    assert constant.all()
    assert (np.abs(sequences[3::4]) == 1).all()
    assert (sequences[3::4] == sequences[3::4, :1]).all()


def test_the_next_sequences_come_from_the_best_failures():
    rng = np.random.default_rng(0)
    tried = np.stack([np.full((10, 2), level) for level in np.linspace(-1, 1, 40)])
    success = np.arange(40) >= 30  # the best ones succeed and must not be improved
    found = Outcomes(np.arange(40.0), success, ~success)
    following = next_sequences(rng, tried, found, 64)
    assert following.shape == (64, 10, 2)
    assert np.abs(following).max() <= 1
    assert np.median(following) == pytest.approx(np.median(tried[22:30]), abs=0.1)
    everything = Outcomes(np.arange(40.0), np.ones(40, bool), np.zeros(40, bool))
    best = next_sequences(rng, tried, everything, 64)
    assert np.median(best) == pytest.approx(np.median(tried[32:]), abs=0.1)


def test_an_action_without_bounds_is_not_searched(task, good, make_transitions):
    sample = make_transitions(64)
    reward = provenance.accept(good, task, sample, {"kind": "file"})
    task.action = Field((6,), "1", "Anything.")
    gate = Gate(task, sample, make_environment=lambda num_envs: pytest.fail("was made"))
    found = gate.report(reward).measures["exploit"]
    assert found.verdict == "undecided"
    assert "no documented bounds" in found.sentence
