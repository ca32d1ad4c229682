import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embodied.errors import UserError
from embodied.types import Field
from rewards.dialect import evaluate, parse
from rewards.dialect.evaluator import check_finite
from rewards.dialect.functions import FUNCTIONS, NUMPY, torch_table

FIELDS = {"vector": Field((3,), "m", "A vector."), "angle": Field((), "rad", "An angle.")}
ACTION = Field((3,), "rad", "An action.")
ROWS = 33


def source(expression: str) -> str:
    return (
        "def reward(state, action, next_state):\n"
        "    v = state.vector\n    w = action\n    a = state.angle\n    b = next_state.angle\n"
        f'    result = {expression}\n    return result, {{"result": result}}\n'
    )


def values(dtype) -> dict[str, np.ndarray]:
    # Strictly inside (0.05, 0.95), where every listed function is defined and smooth.
    rng = np.random.default_rng(1)
    return {
        "state.vector": rng.uniform(0.05, 0.95, size=(ROWS, 3)).astype(dtype),
        "action": rng.uniform(0.05, 0.95, size=(ROWS, 3)).astype(dtype),
        "state.angle": rng.uniform(0.05, 0.95, size=ROWS).astype(dtype),
        "next_state.angle": rng.uniform(0.05, 0.95, size=ROWS).astype(dtype),
    }


def run(expression: str, backend=np.asarray, dtype=np.float64):
    program = parse(source(expression), FIELDS, ACTION)
    arrays = values(dtype)
    inputs = {entry: backend(arrays[str(entry)].copy()) for entry in program.inputs}
    total, terms = evaluate(program, inputs)
    assert set(terms) == {"result"}
    return total


# An [N] expression per listed function, and what plain NumPy says of it.
def reference(name: str, v, w, a, b):
    function = np
    for part in name.split("."):
        function = getattr(function, part)
    return {
        "float1": lambda: function(a),
        "float2": lambda: function(a, b),
        "clip": lambda: function(a, 0.3, b),
        "power": lambda: function(a, 3),
        "where": lambda: function(a < b, a, 0.5),
        "bool1": lambda: function(a < b).astype(float),
        "bool2": lambda: function(a < b, a < 0.5).astype(float),
        "reduce": lambda: function(v, axis=-1),
        "reduce_bool": lambda: function(v < 0.5, axis=-1).astype(float),
        "like": lambda: function(a),
        "stack": lambda: np.linalg.norm(function([a, b], axis=-1), axis=-1),
        "concatenate": lambda: np.linalg.norm(function([v, w], axis=-1), axis=-1),
        "cross": lambda: function(v, w)[:, 1],
    }[shape_of(name)]()


EXPRESSIONS = {
    "float1": "np.{}(a)",
    "float2": "np.{}(a, b)",
    "clip": "np.{}(a, 0.3, b)",
    "power": "np.{}(a, 3)",
    "where": "np.{}(a < b, a, 0.5)",
    "bool1": "np.{}(a < b)",
    "bool2": "np.{}(a < b, a < 0.5)",
    "reduce": "np.{}(v, axis=-1)",
    "reduce_bool": "np.{}(v < 0.5, axis=-1)",
    "like": "np.{}(a)",
    "stack": "np.linalg.norm(np.{}([a, b], axis=-1), axis=-1)",
    "concatenate": "np.linalg.norm(np.{}([v, w], axis=-1), axis=-1)",
    "cross": "np.{}(v, w)[:, 1]",
}


def shape_of(name: str) -> str:
    function = FUNCTIONS[name]
    if name in EXPRESSIONS:
        return name
    return (
        f"{function.rule}{function.arity}" if function.rule in ("float", "bool") else function.rule
    )


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_listed_function_agrees_on_numpy_on_torch_and_with_plain_numpy(name):
    expression = EXPRESSIONS[shape_of(name)].format(name)
    arrays = values(np.float64)
    expected = reference(
        name,
        arrays["state.vector"],
        arrays["action"],
        arrays["state.angle"],
        arrays["next_state.angle"],
    )
    np.testing.assert_allclose(run(expression), expected, rtol=1e-12, atol=1e-12)
    tensor = run(expression, torch.from_numpy)
    np.testing.assert_allclose(tensor.numpy(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_float32_stays_float32(name):
    expression = EXPRESSIONS[shape_of(name)].format(name)
    assert run(expression, dtype=np.float32).dtype == np.float32
    tensor = run(expression, torch.from_numpy, dtype=np.float32)
    assert tensor.dtype == torch.float32
    np.testing.assert_allclose(
        tensor.numpy(), run(expression, dtype=np.float32), rtol=2e-6, atol=1e-6
    )


def test_both_tables_have_the_same_entries():
    assert set(NUMPY) - {"float"} == set(torch_table())
    assert {function.entry for function in FUNCTIONS.values()} <= set(NUMPY)


@pytest.mark.parametrize(
    ("expression", "known"),
    [
        ("a * 0 + 2 ** 3 / 4 - 1", 1.0),
        ("np.sum(w * 0 + 2.0, axis=-1)", 6.0),
        ("np.linalg.norm(v * 0 + np.array([3, 0, 4]), axis=-1)", 5.0),
        ("np.cross(v * 0 + np.array([1, 0, 0]), v * 0 + np.array([0, 1, 0]))[:, 2]", 1.0),
        ("a * 0 + np.arctan2(1.0, 0.0)", math.pi / 2),
        ("np.where(a < 2, 7.0, a)", 7.0),
        ("(7.0 if a < 2 else 1.0) + 0 * b", 7.0),
        ("1.0 * (0 < a < 1)", 1.0),
        ("1.0 * ((a < 0) ^ (a < 1))", 1.0),
        ("-(-a) - a + +(a < 2)", 1.0),
        ("np.mean(np.stack([a * 0, a * 0 + 1], axis=-1), axis=-1)", 0.5),
        ("np.zeros_like(a) + 1e6", 1e6),
        ("(v * 0 + np.array([1, 2, 3]))[:, -1]", 3.0),
        ("(v * 0 + np.array([1, 2, 3]))[..., 1:][:, 0]", 2.0),
        ("np.max(v[:, None] * 0 + v[:, :, None] * 0 + 4, axis=1)[:, 0]", 4.0),
    ],
)
@pytest.mark.parametrize("backend", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
def test_known_values(expression, known, backend):
    np.testing.assert_allclose(np.asarray(run(expression, backend)), known, rtol=1e-12)


def test_augmented_assignment_leaves_its_inputs_alone():
    text = source("a").replace("    result = a\n", "    a += 1.0\n    v *= 0.0\n    result = a\n")
    program = parse(text, FIELDS, ACTION)
    arrays = values(np.float64)
    inputs = {entry: arrays[str(entry)] for entry in program.inputs}
    for array in inputs.values():
        array.flags.writeable = False
    total, _ = evaluate(program, inputs)
    np.testing.assert_array_equal(total, values(np.float64)["state.angle"] + 1.0)


@pytest.mark.parametrize("expression", ["a + b", "np.sum(v * w, axis=-1)", "v[:, 1] - w[:, 2]"])
@pytest.mark.parametrize("backend", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
def test_inputs_may_lie_in_memory_in_any_way(expression, backend):
    def spread(array):
        wide = np.zeros((2 * len(array), *array.shape[1:]))
        wide[::2] = array
        return backend(np.asfortranarray(wide))[::2]

    np.testing.assert_array_equal(np.asarray(run(expression, spread)), run(expression))


def test_results_share_no_memory_with_inputs_or_each_other():
    text = (
        "def reward(state, action, next_state):\n"
        '    return state.angle, {"one": state.angle, "two": state.vector[:, 0]}\n'
    )
    program = parse(text, FIELDS, ACTION)
    arrays = {entry: values(np.float64)[str(entry)] for entry in program.inputs}
    total, terms = evaluate(program, arrays)
    everything = [total, *terms.values(), *arrays.values()]
    for number, one in enumerate(everything):
        assert not any(np.shares_memory(one, other) for other in everything[:number])
    tensors = {entry: torch.from_numpy(array) for entry, array in arrays.items()}
    total, terms = evaluate(program, tensors)
    held = [tensor.data_ptr() for tensor in (total, *terms.values(), *tensors.values())]
    assert len(set(held)) == len(held)


@pytest.mark.parametrize("expression", ["1 / (a - a)", "np.log(a - 2)", "np.exp(a * 1e4)"])
@pytest.mark.parametrize("backend", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
def test_what_is_not_finite_is_refused(expression, backend):
    total = run(expression, backend)
    with pytest.raises(UserError, match=f"'result'.*in {ROWS} of {ROWS} transitions"):
        check_finite(total, {"result": total})


LEAVES = st.sampled_from(
    [
        ("a", lambda e: e["a"]),
        ("b", lambda e: e["b"]),
        ("v[:, 0]", lambda e: e["v"][:, 0]),
        ("w[..., -1]", lambda e: e["w"][..., -1]),
        ("np.sum(v * w, axis=-1)", lambda e: (e["v"] * e["w"]).sum(-1)),
        ("np.linalg.norm(v - w, axis=-1)", lambda e: np.linalg.norm(e["v"] - e["w"], axis=-1)),
    ]
) | st.floats(-5, 5, allow_subnormal=False).map(lambda x: (f"({x!r})", lambda e: np.float64(x)))


def branches(children):
    def unary(template, function):
        return children.map(lambda c: (template.format(c[0]), lambda e: function(c[1](e))))

    def binary(template, function):
        return st.tuples(children, children).map(
            lambda p: (
                template.format(p[0][0], p[1][0]),
                lambda e: function(p[0][1](e), p[1][1](e)),
            )
        )

    return st.one_of(
        unary("(-{})", np.negative),
        unary("np.tanh({})", np.tanh),
        unary("np.abs({})", np.abs),
        unary("({} ** 2)", np.square),
        unary("np.exp(-np.abs({}))", lambda x: np.exp(-np.abs(x))),
        binary("({} + {})", np.add),
        binary("({} - {})", np.subtract),
        binary("({} * {})", np.multiply),
        binary("np.minimum({}, {})", np.minimum),
        binary("np.maximum({}, {})", np.maximum),
        binary("({0} / (1 + np.abs({1})))", lambda x, y: x / (1 + np.abs(y))),
        binary("({} < {})", lambda x, y: np.float64(1) * (x < y)),
    )


def conditional(children):
    return st.tuples(children, children).map(
        lambda p: (
            f"(a if b < {p[0][0]} else {p[1][0]})",
            lambda e: np.where(e["b"] < p[0][1](e), e["a"], p[1][1](e)),
        )
    )


TREES = st.recursive(
    LEAVES,
    lambda children: st.one_of(branches(children), conditional(children)),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(TREES)
def test_random_expressions_mean_what_numpy_means(tree):
    text, function = tree
    arrays = values(np.float64)
    env = {
        "v": arrays["state.vector"],
        "w": arrays["action"],
        "a": arrays["state.angle"],
        "b": arrays["next_state.angle"],
    }
    expected = np.broadcast_to(function(env), (ROWS,))
    expression = f"{text} + 0 * a"
    np.testing.assert_allclose(run(expression), expected, rtol=1e-10, atol=1e-10)
    tensor = run(expression, torch.from_numpy).numpy()
    np.testing.assert_allclose(tensor, expected, rtol=1e-6, atol=1e-6)
