"""The same program on tensors: nothing waits for the device, and NumPy's answers hold."""

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.dialect_grammar import ACTION as GRAMMAR_ACTION
from benchmarks.dialect_grammar import FIELDS as GRAMMAR_FIELDS
from benchmarks.dialect_grammar import make
from embodied.types import Field
from rewards.dialect import DialectError, evaluate, parse
from rewards.dialect.evaluator import TensorMachine
from rewards.dialect.functions import FUNCTIONS

FIELDS = {"vector": Field((3,), "m", "A vector."), "angle": Field((), "rad", "An angle.")}
ACTION = Field((3,), "rad", "An action.")
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
USES = {
    "reduce": "np.{}(state.vector, axis=-1)",
    "reduce_bool": "np.{}(state.vector < 0.5, axis=-1)",
    "where": "np.{}(state.angle < 0.5, 1.0, state.angle)",
    "power": "np.{}(state.angle, 3)",
    "like": "np.{}(state.angle)",
    "join": "np.{}([state.angle, state.angle * 2], axis=-1)[:, 0]",
    "cross": "np.{}(state.vector, action)[:, 1]",
}
OTHERS = ("state.vector * np.array([1, 2, 3])", "state.angle ** 2 / 3 - -1.5", "~(action < 0.5)")


def program(expression):
    text = f"np.sum(1.0 * ({expression}), axis=-1)" if expression in OTHERS[::2] else expression
    source = (
        f"def reward(state, action, next_state):\n    x = {text}\n"
        '    return x + state.angle, {"x": x + 0 * action[:, 0]}\n'
    )
    return parse(source, FIELDS, ACTION)


def uses():
    """Return an expression for every listed function, and others."""
    found = list(OTHERS)
    for name, function in FUNCTIONS.items():
        if name == "concatenate":
            found.append("np.concatenate([state.vector, action], axis=-1)[..., 4]")
        elif function.rule == "bool":
            found.append(f"np.{name}({', '.join(['state.angle < 0.5'] * function.arity)})")
        elif function.rule == "float":
            found.append(f"np.{name}({', '.join(['state.angle', '0.1', '0.9'][: function.arity])})")
        else:
            found.append(USES[function.rule].format(name))
    return found


def tensors(parsed, device="cpu"):
    generator = torch.Generator().manual_seed(0)
    return {
        entry: torch.rand((17, *entry.type.shape), generator=generator).to(device)
        for entry in parsed.inputs
    }


class NoCopyToTheHost(TorchDispatchMode):
    """Raises at whatever reads a tensor's values on the host, or moves a tensor."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = str(function)
        assert not any(part in name for part in ("_local_scalar_dense", "nonzero", "is_nonzero"))
        assert "device" not in (kwargs or {}) or kwargs["device"] in (None, torch.device("cpu"))
        assert "masked_select" not in name
        assert "unique" not in name
        return function(*args, **(kwargs or {}))


class NoQuestions(TorchFunctionMode):
    """Raises at Python's questions to a tensor: ``bool(x)``, ``x.item()``, ``x.tolist()``..."""

    ASKED = ("item", "tolist", "numpy", "cpu", "__bool__", "__float__", "__int__", "__index__")

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "")
        assert name not in (*self.ASKED, "__len__", "__iter__", "__contains__", "tensor"), name
        return function(*args, **(kwargs or {}))


def test_the_watchers_notice_a_wait():
    for wait in (torch.Tensor.item, bool, torch.Tensor.tolist, torch.nonzero, float):
        for watcher in (NoCopyToTheHost, NoQuestions):
            if watcher is NoQuestions and wait is torch.nonzero:
                continue  # seen by the other one
            if watcher is NoCopyToTheHost and wait is torch.Tensor.tolist:
                continue
            with pytest.raises(AssertionError), watcher():
                wait(torch.ones(()))


@pytest.mark.parametrize("expression", uses())
def test_no_function_waits_for_the_device(expression):
    parsed = program(expression)
    with NoQuestions(), NoCopyToTheHost():
        total, _ = evaluate(parsed, tensors(parsed))
    assert total.shape == (17,)


def test_random_programs_do_not_wait():
    computed = 0
    for number in range(0, 120, 2):
        try:
            parsed = parse(make(number)[1], GRAMMAR_FIELDS, GRAMMAR_ACTION)
        except DialectError:
            continue
        with NoQuestions(), NoCopyToTheHost():
            evaluate(parsed, tensors(parsed))
        computed += 1
    assert computed > 50


@pytest.mark.parametrize("backend", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
def test_the_sign_of_nan_is_nan(backend):
    # torch.sign gives 0, which would hide it from the check of the result.
    parsed = program("np.sign(state.angle)")
    inputs = {entry: backend(np.full((3, *entry.type.shape), np.nan)) for entry in parsed.inputs}
    _, terms = evaluate(parsed, inputs)
    assert np.isnan(np.asarray(terms["x"])).all()


@pytest.mark.parametrize("backend", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
def test_the_cross_product_of_a_vector_with_itself_is_exactly_zero(backend):
    # torch.linalg.cross rounds once less, and gave -1e-33: a comparison with zero then differed.
    parsed = program("np.sum(np.abs(np.cross(state.vector, state.vector * 3)), axis=-1)")
    rng = np.random.default_rng(0)
    vector = np.repeat(rng.normal(size=(50, 1)), 3, axis=1)
    inputs = {entry: backend(vector[:, 0].copy()) for entry in parsed.inputs}
    inputs |= {entry: backend(vector) for entry in parsed.inputs if entry.type.shape}
    _, terms = evaluate(parsed, inputs)
    assert np.asarray(terms["x"]).max() == 0.0


@GPU
@pytest.mark.parametrize("expression", uses())
def test_the_same_program_runs_on_a_gpu(expression):
    parsed = program(expression)
    there = tensors(parsed, "cuda")
    total, terms = evaluate(parsed, there)
    assert total.device.type == "cuda"
    expected, _ = evaluate(parsed, tensors(parsed))
    np.testing.assert_allclose(total.cpu().numpy(), expected.numpy(), rtol=1e-4, atol=1e-5)
    assert all(term.device.type == "cuda" for term in terms.values())


@GPU
def test_a_program_is_captured_in_a_cuda_graph():
    parsed = program("state.vector[:, 0] * np.tanh(state.angle)")
    inputs = list(tensors(parsed, "cuda").values())
    outputs = [torch.empty(17, device="cuda") for _ in parsed.plan.results]
    machine = TensorMachine(parsed, inputs[0])
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        machine.run(inputs, outputs)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        machine.run(inputs, outputs)
    for tensor in inputs:
        tensor.mul_(0.5)
    graph.replay()
    expected, _ = evaluate(parsed, dict(zip(parsed.inputs, inputs, strict=True)))
    torch.testing.assert_close(outputs[0], expected)
