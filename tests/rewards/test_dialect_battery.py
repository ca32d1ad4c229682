"""The attack list: 56 ideas, several programs for each; every one is refused, or does no harm.

The programs lie in ``tests/rewards/battery``. What happens to the process meanwhile is watched in
``test_dialect_contained.py``.
"""

import re

import numpy as np
import pytest
import torch

from rewards.dialect import DialectError, evaluate
from rewards.dialect.parser import MAX_WORK
from tests.rewards.battery import IDEAS
from tests.rewards.battery.idea import BODY, HARMLESS, HEAD, expression, read, statement

ROWS = 6


def inputs(program, backend=np.array):
    rng = np.random.default_rng(0)
    return {entry: backend(rng.normal(size=(ROWS, *entry.type.shape))) for entry in program.inputs}


def test_every_idea_has_several_programs():
    assert sorted(IDEAS) == list(range(1, 57))
    for number, idea in IDEAS.items():
        assert len(idea.refused()) + len(idea.contained) >= 3, number
    texts = [pair[0] for idea in IDEAS.values() for pair in (*idea.refused(), *idea.contained)]
    assert len(set(texts)) >= 600


def objections(text, why):
    """Return what is wrong with the way in which a source is refused."""
    try:
        read(text)
    except DialectError as refusal:
        return [
            *([] if re.search(why, str(refusal)) else [f"another reason: {refusal}"]),
            *([] if 0 <= refusal.line <= text.count("\n") + 1 else [f"line {refusal.line}"]),
            *([] if refusal.reason and refusal.hint else ["no reason or no hint"]),
            *([] if len(str(refusal)) < 600 and str(refusal).isprintable() else ["not one line"]),
            # What stays of an exception keeps frames, and what they hold, alive.
            *([] if refusal.__cause__ is None else ["a cause"]),
        ]
    return ["accepted"]


@pytest.mark.parametrize("number", sorted(IDEAS), ids=lambda n: f"{n}: {IDEAS[n].title}")
def test_attacks_are_refused_with_line_reason_and_a_way_out(number):
    found = [(text, objections(text, why)) for text, why in IDEAS[number].refused()]
    assert [item for item in found if item[1]] == []


CONTAINED = [(number, *pair) for number, idea in IDEAS.items() for pair in idea.contained]


@pytest.mark.parametrize("backend", [np.array, torch.tensor], ids=["numpy", "torch"])
def test_other_attacks_compute_what_a_harmless_program_computes(backend):
    assert {number for number, *_ in CONTAINED} >= {30, 37, 39, 40, 44, 50, 51, 56}
    for _, text, same in CONTAINED:
        program, harmless = read(text), read(same)
        arrays = inputs(program, backend)
        held = inputs(program)
        total, terms = evaluate(program, arrays)
        expected, _ = evaluate(harmless, {entry: arrays[entry] for entry in harmless.inputs})
        np.testing.assert_allclose(np.asarray(total), np.asarray(expected), rtol=1e-12)
        assert set(terms) == {"force"}
        for entry, array in arrays.items():
            np.testing.assert_array_equal(np.asarray(array), held[entry])
        assert program.plan.work <= MAX_WORK


def test_what_surrounds_the_attacks_is_accepted():
    # Otherwise every test above would pass for a wrong reason.
    accepted = (HARMLESS, expression("1"), expression("state.force"), statement("x = action"))
    for text in accepted:
        assert read(text).fields_used == ("force",) or "action" in text
    assert read(HEAD + '    """Text."""\n' + BODY).fields_used == ("force",)
