import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodied.errors import UserError
from embodied.types import Field
from rewards.dialect import DialectError, evaluate, parse
from rewards.dialect.text import MAX_SOURCE

FIELDS = {
    "position": Field((3,), "m", "A position."),
    "angle": Field((2,), "rad", "Two angles."),
    "force": Field((), "N", "A force."),
}
ACTION = Field((4,), "rad", "An action.")


def program(body: str, returned: str = 'force, {"force": force}') -> str:
    lines = ["def reward(state, action, next_state):", "    force = next_state.force"]
    return "\n".join(
        [*lines, *(f"    {line}" for line in body.split("\n")), f"    return {returned}"]
    )


def run(source: str, rows: int = 5):
    parsed = parse(source, FIELDS, ACTION)
    rng = np.random.default_rng(0)
    inputs = {
        entry: rng.normal(size=(rows, *entry.type.shape)).astype(np.float32)
        for entry in parsed.inputs
    }
    return evaluate(parsed, inputs)


ACCEPTED = [
    "x = next_state.position[:, 0]",
    'x = state["position"][..., :2]',
    "x = state.position[:, -1] + 2",
    "x = state.position[:, ::2]",
    "x = state.force[:, None] * state.position",
    "x = np.array([1, -2.5, 3]) * state.position",
    "x = state.force if state.force > 0 else 0.0",
    "x = 0 < state.force < 1",
    "x = (state.force < 1) & ~(state.force < 0) | (action[:, 0] > 0)",
    "x = np.stack([state.force, force], axis=-1)",
    "x = np.concatenate([state.position, state.angle], axis=1)",
    "x = np.linalg.norm(action, axis=-1, keepdims=True) * state.position",
    "x = np.sum(state.position, -1) ** 2 / 4",
    "w = 2.0 * np.pi\nx = w * force",
    "x = 1.0\nx += force\nx *= force",
    "x = 3 * (force > 0)",
    "x = np.any(state.position > 0, axis=-1)",
    "x = np.clip(force, -1, 1)  # a comment with a degree sign: 3°",
]


@pytest.mark.parametrize("body", ACCEPTED)
def test_code_of_the_dialect_is_accepted_and_runs(body):
    total, terms = run(program(body))
    assert total.shape == (5,)
    assert terms["force"].dtype == np.float32


def test_fields_used_and_inputs_are_reported():
    source = program("x = state.position[:, 0] + action[:, 0]", 'x, {"x": x + force}')
    parsed = parse(source, FIELDS, ACTION)
    assert parsed.fields_used == ("force", "position")
    assert {str(entry) for entry in parsed.inputs} == {
        "next_state.force",
        "state.position",
        "action",
    }


# (line of the mistake, part of the message, body)
MISTAKES = [
    (3, "do not match", "x = state.position * force"),
    (3, "do not match", "x = state.position + state.angle"),
    (3, "do not match", "x = np.array([1, 2]) * state.position"),
    (3, "do not match", "x = np.array([1, 2, 3]) * force"),
    (3, "first axis", "x = state.position[0]"),
    (3, "first axis", "x = state.position[1:]"),
    (3, "first axis", "x = state.position[:-1, 0]"),
    (3, "first axis", "x = state.position[::2, 0]"),
    (3, "first axis", "x = state.position[None, :]"),
    (3, "first axis", "x = state.force[state.force > 0]"),
    (3, "outside an axis", "x = state.position[:, 3]"),
    (3, "too many indices", "x = state.force[:, 0]"),
    (3, "too many indices", "x = state.position[..., 0, 0]"),
    (3, "takes nothing", "x = state.position[:, 3:]"),
    (3, "not positive", "x = state.position[:, ::-1]"),
    (3, "no axis to reduce", "x = np.sum(force, axis=-1)"),
    (3, "needs its axis", "x = np.sum(state.position)"),
    (3, "cannot be reduced", "x = np.sum(state.position, axis=0)"),
    (3, "cannot be reduced", "x = np.sum(state.position, axis=2)"),
    (3, "cannot be reduced", "x = np.sum(state.position, axis=-2)"),
    (3, "truth values", "x = force & force"),
    (3, "truth values", "x = np.any(state.position, axis=-1)"),
    (3, "condition", "x = np.where(force, 1, 0)"),
    (3, "condition", "x = 1.0 if True else 0.0"),
    (3, "not part of the dialect", "x = force and force"),
    (3, "not part of the dialect", "x = not force"),
    (3, "not part of the dialect", "x = force % 2"),
    (3, "not part of the dialect", "x = force in force"),
    (3, "exponent", "x = 2.0 ** force"),
    (3, "exponent is too large", "x = force ** 9"),
    (3, "division by zero", "x = force / 0"),
    (3, "not finite or too large", "x = 1e7 * force"),
    (3, "not finite or too large", "x = 1e999 * force"),
    (3, "unknown", "x = undefined + 1"),
    (3, "has no field", "x = state.success"),
    (3, "is not an array", "x = state + 1"),
    (3, "write np.abs", "x = abs(force)"),
    (3, "taken", "np = 1"),
    (3, "taken", "state = force"),
    (3, "plain name", "x, y = force, force"),
    (3, "If statements", "if True:\n    x = 1"),
    (5, "unknown", "x = 1\ny = (x +\n    z)"),
    (3, "plain name", "x = y = 1"),
    (3, "neither True nor False", "x = np.sum(state.position, axis=-1, keepdims=1)"),
    (3, "neither True nor False", "x = np.sum(state.position, axis=-1, keepdims=force)"),
    (3, "U\\+000D", "x = 1  # a comment\ry = 2"),
    (3, "is not allowed", "x\uff3fy = 1"),
    (3, "longer than 1000 characters", "x = 1  #" + "a" * 1000),
    (3, "too deeply nested", "x = " + "(" * 41 + "1" + ")" * 41),
    (502, "too long", "x = " + "+\\\n".join("1" * 600)),
    (3, "elements per transition", "x = state.position[:, :, None, None, None, None]"),
]


@pytest.mark.parametrize(("line", "part", "body"), MISTAKES)
def test_a_mistake_is_told_with_its_line(line, part, body):
    with pytest.raises(DialectError, match=part) as caught:
        parse(program(body), FIELDS, ACTION)
    assert caught.value.line == line
    assert isinstance(caught.value, UserError)
    assert "\n" not in str(caught.value)
    assert re.match(r"reward code refused, line \d+: ", str(caught.value))


RETURNS = [
    ("force", "another form"),
    ("force, {}", "1 to 32"),
    ('force, {"a b": force}', "not plain"),
    ('force, {"a": force, "a": force}', "occurs twice"),
    ("force, {force: force}", "plain string"),
    ('force, {**{"a": force}}', "plain string"),
    ('1.0, {"a": force}', "must have shape"),
    ('force, {"a": 1.0}', "must have shape"),
    ('state.position, {"a": force}', "must have shape"),
    ('force[:, None], {"a": force}', "must have shape"),
]


@pytest.mark.parametrize(("returned", "part"), RETURNS)
def test_the_return_has_one_form(returned, part):
    with pytest.raises(DialectError, match=part):
        parse(program("x = 1", returned), FIELDS, ACTION)


def test_truth_values_are_counted_as_one_and_zero():
    total, _ = run(program("x = 2 * (force > 0)", 'x, {"x": x}'))
    assert set(np.unique(total)) <= {0.0, 2.0}


def test_the_total_may_be_a_comparison():
    total, _ = run(program("x = force > 0", 'x, {"x": x}'))
    assert total.dtype == np.float32


@pytest.mark.parametrize(
    ("left", "right", "fits"),
    [("position", "position", True), ("position", "force", False), ("angle", "position", False)],
)
def test_a_batch_of_three_hides_no_shape_mistake(left, right, fits):
    # With N = 3 NumPy itself would accept [N, 3] * [N].
    source = program(f"x = np.minimum(state.{left}, state.{right})")
    if fits:
        run(source, rows=3)
    else:
        with pytest.raises(DialectError):
            parse(source, FIELDS, ACTION)


def test_the_length_of_the_source_is_bounded():
    with pytest.raises(DialectError, match="longer than"):
        parse(program("# " + "x" * MAX_SOURCE), FIELDS, ACTION)


def test_a_field_without_elements_is_refused():
    fields = {**FIELDS, "nothing": Field((0,), "1", "Nothing.")}
    with pytest.raises(DialectError, match="nothing holds no elements"):
        parse(program("x = np.max(state.nothing, axis=-1)"), fields, ACTION)


def test_a_line_end_of_windows_is_one():
    source = program("x = state.force\ny = (x +\n    1)")
    windows = parse(source.replace("\n", "\r\n"), FIELDS, ACTION)
    assert windows.plan == parse(source, FIELDS, ACTION).plan
    assert "\r\n" in windows.source  # kept as it was given


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_refused_or_parsed(text):
    with pytest.raises(DialectError):
        parse(text, FIELDS, ACTION)


WORDS = (
    "x = np . norm ( ) [ ] : , 1 2.5 state next_state action position force + - * / ** < & ~ "
    "if else lambda for in return { } ' \" ... None axis -1 not and @ := # \n import"
)
TOKENS = st.sampled_from(WORDS.split(" "))


@settings(max_examples=500, deadline=None)
@given(st.lists(TOKENS, max_size=30).map(" ".join))
def test_any_line_of_tokens_is_refused_or_runs(line):
    source = program("x = " + line)
    try:
        parse(source, FIELDS, ACTION)
    except DialectError:
        return
    total, terms = run(source)
    assert total.shape == terms["force"].shape == (5,)
