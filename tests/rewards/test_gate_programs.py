"""The gate on written and on mutated rewards: each gets the verdict that it must get."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from embodied.environments import EnvConfig, make_environment, require_task
from embodied.errors import UserError
from embodied.stages.reward import sample_transitions
from rewards.checks import scored
from rewards.code_reward import CodeReward
from rewards.dialect import parse
from rewards.file import expert_path, reference
from rewards.gate import exploit
from rewards.gate.report import Gate
from rewards.gate.terms import explained
from rewards.provenance import accept
from rewards.text2reward import code_block
from tests.rewards.gate_mutations import Base, mutants, parts
from tests.rewards.gate_programs import OUTCOMES, SPEED, TO_TARGET, WRITTEN, Case, summed

TASKS = ("reach", "push", "lift", "stack")
RECORDED = Path(__file__).resolve().parents[2] / "rewards" / "recorded"
SEED = 0


def code(source: str, task) -> CodeReward:
    return CodeReward(parse(source, task.fields, task.action), {"kind": "file"})


def recorded() -> list[Case]:
    """The kept replies whose prompt is the task's own sentence."""
    found = []
    for path in sorted(RECORDED.glob("*.json")):
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["task"] in TASKS and kept["instruction"] == require_task(kept["task"]).instruction:
            name = f"recorded {kept['task']}"
            found.append(Case(name, kept["task"], "good", code_block(kept["reply"])))
    return found


def experts() -> list[Case]:
    paths = {name: expert_path(require_task(name)) for name in TASKS}
    return [
        Case(f"expert {name}", name, "good", path.read_text(encoding="utf-8"))
        for name, path in paths.items()
        if path is not None
    ]


@pytest.fixture(scope="module", name="samples")
def _samples():
    return {name: sample_transitions(EnvConfig(name, num_envs=64), 128, SEED) for name in TASKS}


@pytest.fixture(scope="module", name="gates")
def _gates(samples):
    """Gates where nothing acts."""
    tasks = {name: require_task(name) for name in TASKS}
    return {
        name: Gate(task, samples[name], reference=reference(None, task))
        for name, task in tasks.items()
    }


def verdict(case: Case, samples, gates) -> str:
    """Return what becomes of a program where nothing acts: refusals count as ``fail``."""
    task, sample, gate = require_task(case.task), samples[case.task], gates[case.task]
    parse(case.source, task.fields, task.action)  # whatever is refused, it is not the language
    try:
        reward = accept(case.source, task, sample, {"kind": "file"}, gate=gate)
    except UserError:
        return "fail"
    return gate.report(reward).verdict


def base(case: Case, samples) -> Base:
    task = require_task(case.task)
    total, terms = scored(code(case.source, task), samples[case.task])
    np.testing.assert_allclose(sum(terms.values()), total, atol=1e-4)
    statements, texts = parts(case.source)
    positions = [
        name for name, item in task.fields.items() if (item.shape, item.unit) == ((3,), "m")
    ]
    return Base(statements, texts, explained(total, terms), float(total.std()), positions)


def test_every_program_gets_the_verdict_that_it_must_get(samples, gates):
    # Without the replies for lift and stack: one term of the latter with its sign flipped passes.
    originals = [*experts(), *(case for case in recorded() if case.task in ("reach", "push"))]
    generated = [
        mutant
        for number, case in enumerate(originals)
        for mutant in mutants(case.name, case.task, base(case, samples), SEED + number)
    ]
    table: Counter[tuple[str, str]] = Counter()
    wrong = []
    for case in [*WRITTEN, *originals, *generated]:
        found = verdict(case, samples, gates)
        table[case.expected, found] += 1
        if found not in OUTCOMES[case.expected]:
            wrong.append(f"{case.name} is {case.expected} and got {found}")
    assert wrong == [], table
    assert len(generated) >= 40
    assert len(WRITTEN) + len(originals) >= 20


@pytest.mark.parametrize("case", [*experts(), *recorded()], ids=lambda case: case.name)
def test_experts_and_recorded_replies_pass_every_measure(case, gates):
    task = require_task(case.task)
    found = gates[case.task].report(code(case.source, task))
    assert found.verdict == "pass", found.json()
    decided = {name for name, item in found.measures.items() if item.verdict == "pass"}
    assert decided >= {"edges", "ordering", "correlation", "epic", "starc", "saturation"}


def push_mutants(samples) -> dict[str, Case]:
    (expert,) = (case for case in experts() if case.task == "push")
    made = mutants("", "push", base(expert, samples), SEED)
    return {case.name.removeprefix(": "): case for case in made}


def test_for_another_sentence_the_task_is_no_ground_to_refuse(samples):
    """Whoever asks for something else than the task may get its opposite, but no NaN."""
    task, changed = require_task("push"), push_mutants(samples)
    gate = Gate(task, samples["push"], reference=reference(None, task), own_sentence=False)
    found = gate.report(code(changed["flipped"].source, task))
    assert found.failures == []
    assert found.verdict == "warn"
    assert gate.report(code(changed["divided"].source, task)).verdict == "fail"


def test_what_is_wrong_is_named(samples, gates):
    """Each fault is found by the measure that is made for it."""
    task, gate = require_task("push"), gates["push"]
    (expert,) = (case for case in experts() if case.task == "push")
    changed = {
        case.name.rpartition(": ")[2]: case
        for case in mutants("", "push", base(expert, samples), SEED)
    }
    faults = {
        "flipped": ("ordering", "correlation", "epic", "starc"),
        "divided": ("edges",),
        "logarithm": ("edges",),
        "at_a_fixed_point": ("ordering",),
    }
    for name, measures in faults.items():
        found = gate.report(code(changed[name].source, task)).measures
        assert {key for key, item in found.items() if item.verdict == "fail"} == set(measures), name
    blown_up = gate.report(code(changed["blown_up"].source, task)).measures
    assert blown_up["dominance"].verdict == "warn"
    saturated = gate.report(code(changed["saturated"].source, task)).measures
    assert saturated["saturation"].verdict == "warn"


# ---- acting ------------------------------------------------------------------------------------


def acting(samples) -> Gate:
    task = require_task("push")
    return Gate(
        task,
        samples["push"],
        make_environment=lambda num_envs: make_environment(EnvConfig("push"), num_envs),
        reference=reference(None, task),
    )


OPEN_GRIPPER = Case(
    "pays for an open gripper",
    "push",
    "bad",
    summed(
        TO_TARGET,
        SPEED,
        near="1 - np.tanh(5 * d)",
        settled="np.where((d < 0.03) & (v < 0.01), 1.0, 0.0)",
        open="1.0 * next_state.joint_position[:, 5]",
    ),
)


def test_acting_finds_what_stored_episodes_do_not_show(samples, gates):
    assert verdict(OPEN_GRIPPER, samples, gates) == "warn", "nothing refuses it where nothing acts"
    found = acting(samples).report(code(OPEN_GRIPPER.source, require_task("push")))
    assert found.measures["exploit"].verdict == "fail"
    assert found.measures["exploit"].value > found.measures["exploit"].bound
    assert "failing pays more than succeeding" in found.failures[0]


def test_acting_finds_no_exploit_of_the_expert(samples):
    task = require_task("push")
    found = acting(samples).report(reference(None, task)).measures["exploit"]
    assert found.verdict == "pass", found


def test_the_search_improves_and_repeats_itself():
    """Later rounds find more than the first; the number of sub-environments changes nothing."""
    task = require_task("push")
    reward = code(OPEN_GRIPPER.source, task)

    def found(rounds, most):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(exploit, "ROUNDS", rounds)
            patch.setattr(exploit, "POPULATION", 16)
            return exploit.search(
                reward,
                lambda wanted: make_environment(EnvConfig("push"), min(wanted, most)),
                task.action,
                task.max_steps,
                seed=1,
            )

    once, thrice = found(1, 16), found(3, 16)
    assert thrice.best_failure > once.best_failure
    assert thrice.episodes == 3 * once.episodes
    fewer = found(3, 4)
    assert fewer.episodes == thrice.episodes
    assert fewer.best_failure == pytest.approx(thrice.best_failure)
    assert fewer.successes == pytest.approx(thrice.successes)


def test_a_simulator_of_few_environments_is_searched_for_less_long():
    task = require_task("push")
    reward = code(OPEN_GRIPPER.source, task)

    def searched(most):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(exploit, "ROUNDS", 1)
            patch.setattr(exploit, "MAX_STEPS", 40 * task.max_steps)
            patch.setattr(exploit, "MAX_STEPS_OF_FEW", 10 * task.max_steps)
            make = lambda wanted: make_environment(EnvConfig("push"), min(wanted, most))  # noqa: E731
            return exploit.search(reward, make, task.action, task.max_steps).episodes

    assert searched(40) == 40
    assert searched(5) == 10
