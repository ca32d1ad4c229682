import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.dialect_grammar import ACTION, FIELDS, make
from rewards.dialect import DialectError, evaluate, parse
from rewards.dialect.evaluator import ArrayMachine
from rewards.dialect.functions import COSTS, NUMPY
from rewards.dialect.plan import arguments
from rewards.dialect.tree import Call, Constant, Index, Local


def plan(*lines, result="x"):
    body = "".join(f"    {line}\n" for line in lines)
    source = (
        f'def reward(state, action, next_state):\n{body}    return {result}, {{"r": {result}}}\n'
    )
    return parse(source, FIELDS, ACTION).plan


def functions(made):
    return [step.function for step in made.steps if isinstance(step, Call)]


def test_what_is_written_twice_is_computed_once():
    made = plan("x = np.exp(state.force) + np.exp(state.force)")
    assert functions(made) == ["exp", "add"]
    made = plan("y = state.position - next_state.position", "x = y[:, 0] * y[..., -3]")
    assert functions(made) == ["subtract", "multiply"]  # -3 and 0 are the same element


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("0.0", "-0.0"),
        ("np.array([0, 1, 2])", "np.array([0.0, -1, 2])"),
        ("state.position[:, 0:1]", "state.position[:, 0:2:2][:, :1]"),
        (
            "np.sum(state.position, axis=-1)[:, None]",
            "np.sum(state.position, axis=-1, keepdims=True)",
        ),
    ],
)
def test_what_differs_is_kept_apart(one, other):
    made = plan(
        f"a = state.position + {one}", f"b = state.position + {other}", "x = np.arctan2(a, b)[:, 0]"
    )
    assert functions(made).count("add") == 2


def test_what_no_result_needs_is_left_out():
    made = plan("y = np.exp(action)", "z = y * 2", "x = state.force * 1.5")
    assert functions(made) == ["multiply"]
    assert made.work == 1 + 1  # the field is read, and multiplied


def test_a_buffer_is_used_again_after_the_last_use():
    made = plan("x = state.force + 1", *["x = np.tanh(x) * 2"] * 20)
    assert len(made.buffers) == 1  # every step works in place
    assert made.width == 1


def test_a_value_that_is_still_needed_is_not_overwritten():
    made = plan("y = state.force + 1", "z = y * 2", "x = z * y")
    assert len(made.buffers) == 2


def test_a_view_keeps_the_whole_value():
    made = plan("y = action * 2", "z = y[:, 0]", "w = action[:, 1] + 1", "x = z + w")
    view = next(k for k, s in enumerate(made.steps) if isinstance(s, Index) and arguments(s))
    root = made.steps[view].value.slot
    assert made.places[view] is None
    later = made.places[root + 1 : -1]
    assert made.places[root] not in later


def lifetimes(made):
    """Return for each buffer the spans of steps in which a value in it is needed."""
    owner = {}
    for number, step in enumerate(made.steps):
        view = isinstance(step, Index) and arguments(step)
        owner[number] = owner[arguments(step)[0]] if view else number
    last = {owner[n]: n for n in owner}
    for number, step in enumerate(made.steps):
        last.update({owner[item]: number for item in arguments(step)})
    last.update({owner[item]: len(made.steps) for item in made.results})
    spans = {}
    for number, place in enumerate(made.places):
        if place is not None:
            spans.setdefault(place, []).append((number, last[number]))
    return spans


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6).map(lambda n: 2 * n))
def test_no_two_values_that_are_needed_share_a_buffer(number):
    try:
        made = parse(make(number)[1], FIELDS, ACTION).plan
    except DialectError:
        return
    for spans in lifetimes(made).values():
        for (_, end), (start, _) in itertools.pairwise(spans):
            # The same step may read the old value and write the new one: ufuncs allow that.
            assert end <= start
            if end == start:
                assert isinstance(NUMPY[made.steps[start].function], np.ufunc)
    for number, step in enumerate(made.steps):
        assert all(item < number for item in arguments(step))
        assert not isinstance(step, Local)
        assert (made.places[number] is None) == (
            isinstance(step, Constant) or bool(isinstance(step, Index) and arguments(step))
        )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6).map(lambda n: 2 * n))
def test_a_machine_that_is_used_again_remembers_nothing(number):
    try:
        program = parse(make(number)[1], FIELDS, ACTION)
    except DialectError:
        return
    machine = ArrayMachine(program, 5, np.float64)
    for seed in (1, 2, 1):
        rng = np.random.default_rng(seed)
        inputs = {entry: rng.normal(size=(5, *entry.type.shape)) for entry in program.inputs}
        outputs = [np.empty(5) for _ in program.plan.results]
        machine.run(list(inputs.values()), outputs)
        total, terms = evaluate(program, inputs)
        for output, expected in zip(outputs, (total, *terms.values()), strict=True):
            np.testing.assert_array_equal(output, expected)


def test_costs_name_functions_of_the_table():
    assert set(COSTS) <= set(NUMPY)
    assert all(cost > 1 for cost in COSTS.values())


def test_squares_and_roots_take_the_functions_that_numpy_takes():
    assert functions(plan("x = state.force ** 2 + np.power(state.angle, 2)")) == ["square"] * 2 + [
        "add"
    ]
    assert functions(plan("x = state.force ** 0.5")) == ["sqrt"]
    assert functions(plan("x = state.force ** 3")) == ["power"]
