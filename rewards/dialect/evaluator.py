"""Computes a program on a batch of arrays: the steps of its plan, one after another.

Inside, the batch axis is the last one, ``[*shape, N]``: a vector is a few long rows, and every
operation, a sum over the vector too, runs along memory.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce
from typing import Any, Protocol

import numpy as np

from embodied.errors import UserError
from embodied.types import Array
from rewards.dialect.functions import NUMPY, torch_table
from rewards.dialect.parser import Program
from rewards.dialect.plan import arguments
from rewards.dialect.tree import Call, Constant, Index, Input, Node


class Machine(Protocol):
    """A program made ready for batches of one size, type and device."""

    def run(self, inputs: Sequence[Array], outputs: Sequence[Array]) -> None:
        """Compute from ``program.inputs``, ``[N, *shape]`` each, and fill the results, ``[N]``."""
        ...


def is_tensor(array: Array) -> bool:
    """Return whether an array is a torch tensor, without importing torch."""
    if isinstance(array, np.ndarray):
        return False
    return any(kind.__module__.partition(".")[0] == "torch" for kind in type(array).__mro__)


def evaluate(program: Program, inputs: Mapping[Input, Array]) -> tuple[Array, dict[str, Array]]:
    """Compute a program.

    Args:
        program: What ``parse`` returned.
        inputs: An array ``[N, *shape]`` for each of ``program.inputs``; all of one floating-point
            type, all NumPy arrays or all torch tensors of one device. They are not written to.

    Returns:
        The total ``[N]`` and the terms ``{name: [N]}``, in the type of the inputs and in memory of
        their own. They may hold values that are not finite; ``check_finite`` refuses these.
    """
    like = inputs[program.inputs[0]]
    make = like.new_empty if is_tensor(like) else partial(np.empty, dtype=like.dtype)
    outputs = [make((like.shape[0],)) for _ in program.plan.results]
    machine(program, like).run([inputs[entry] for entry in program.inputs], outputs)
    names = (name for name, _ in program.terms)
    return outputs[0], dict(zip(names, outputs[1:], strict=True))


def machine(program: Program, like: Array) -> Machine:
    """Return what computes a program on batches of the size, type and device of an array."""
    if is_tensor(like):
        return TensorMachine(program, like)
    return ArrayMachine(program, like.shape[0], like.dtype)


def check_finite(total: Array, terms: Mapping[str, Array]) -> None:
    """Raise UserError when a total or a term is infinite or not a number."""
    named = {**{f"the term {name!r}": term for name, term in terms.items()}, "the total": total}
    with np.errstate(all="ignore"):
        together = reduce(operator.add, named.values())
    if bool(_finite(together).all()):  # one question to the device: a finite sum has finite parts
        return
    for name, array in named.items():
        finite = _finite(array)
        if not bool(finite.all()):
            bad = array.shape[0] - int(finite.sum())
            raise UserError(
                f"{name} is infinite or not a number in {bad} of {array.shape[0]} transitions; "
                "guard divisions, logarithms and square roots, for example np.maximum(x, 1e-6)"
            )


def _finite(array: Array) -> Array:
    return array.isfinite() if is_tensor(array) else np.isfinite(array)


class ArrayMachine:
    """Calls of NumPy's functions on buffers that are there already: nothing is allocated.

    Args:
        program: What is computed.
        rows: Transitions of a batch.
        dtype: Floating-point type that is computed in; inputs of another one are converted.
    """

    def __init__(self, program: Program, rows: int, dtype: Any) -> None:
        plan = program.plan
        self.rows, self.dtype = rows, np.dtype(dtype)
        self._order = {entry: number for number, entry in enumerate(program.inputs)}
        buffers = [
            np.empty((*shape, rows), bool if boolean else dtype) for shape, boolean in plan.buffers
        ]
        self._values: list[Array] = []
        self._inputs: Sequence[Array] = ()
        self._calls: list[tuple[Callable[..., Any], tuple[Any, ...], Array]] = []
        for step, place in zip(plan.steps, plan.places, strict=True):
            out = None if place is None else buffers[place]
            self._values.append(self._prepare(step, out))
        self._results = [self._values[number] for number in plan.results]

    def _prepare(self, step: Node, out: Any) -> Array:
        """Append the call that computes a step, and return the array that will hold its value."""
        given = [self._values[number] for number in arguments(step)]
        if isinstance(step, Constant):
            return _column(np.asarray(step.value, dtype=self.dtype), step)
        if isinstance(step, Input):
            self._calls.append((self._load, (self._order[step], (), _batch_last(step)), out))
        elif isinstance(step, Index) and isinstance(step.value, Input):
            source = (self._order[step.value], _key(step), _batch_last(step.value))
            self._calls.append((self._load, source, out))
        elif isinstance(step, Index):
            return given[0][_key(step)]
        elif isinstance(step, Call):
            options = () if step.axis is None else (step.axis - 1, step.keepdims)
            self._calls.append((NUMPY[step.function], (*given, *options), out))
        return out

    def _load(self, number: int, key: tuple[Any, ...], axes: tuple[int, ...], out: Array) -> None:
        np.copyto(out, self._inputs[number].transpose(axes)[key], casting="unsafe")

    def run(self, inputs: Sequence[Array], outputs: Sequence[Array]) -> None:
        """Compute from ``program.inputs``, ``[N, *shape]`` each, and fill the results, ``[N]``."""
        self._inputs = inputs
        with np.errstate(all="ignore"):  # what is not finite is found in the results
            for function, given, out in self._calls:
                function(*given, out=out)
        for output, result in zip(outputs, self._results, strict=True):
            np.copyto(output, result)
        self._inputs = ()


class TensorMachine:
    """Calls of torch's functions on tensors of the type and device of ``like``.

    Nothing waits for the device, so the calls may be captured in a CUDA graph.
    """

    def __init__(self, program: Program, like: Array) -> None:
        self._plan, self._table = program.plan, torch_table()
        self._inputs = program.inputs
        self.dtype, self.device = like.dtype, like.device
        self._constants = {
            number: _constant(step, like)
            for number, step in enumerate(program.plan.steps)
            if isinstance(step, Constant)
        }

    def run(self, inputs: Sequence[Array], outputs: Sequence[Array]) -> None:
        """Compute from ``program.inputs``, ``[N, *shape]`` each, and fill the results, ``[N]``."""
        values: dict[int, Array] = dict(self._constants)
        named = dict(zip(self._inputs, inputs, strict=True))
        for number, step in enumerate(self._plan.steps):
            if number not in values:
                values[number] = self._value(step, values, named)
            for forgotten in self._plan.forgotten[number]:
                del values[forgotten]
        for output, number in zip(outputs, self._plan.results, strict=True):
            output.copy_(values[number])

    def _value(self, step: Node, values: Mapping[int, Array], inputs: Mapping[Input, Array]) -> Any:
        given = [values[number] for number in arguments(step)]
        if isinstance(step, Input):
            return inputs[step].movedim(0, -1).to(self.dtype)
        if isinstance(step, Index):
            source = given[0] if given else inputs[step.value].movedim(0, -1)  # type: ignore[index]
            return source[_key(step)].to(self.dtype if not step.type.boolean else source.dtype)
        assert isinstance(step, Call)
        if step.function == "float":
            return given[0].to(self.dtype)
        options = () if step.axis is None else (step.axis - 1, step.keepdims)
        return self._table[step.function](*given, *options)


def _key(step: Index) -> tuple[Any, ...]:
    """Return the subscript of the axes before the batch axis."""
    return tuple(
        slice(item.start, item.stop, item.step) if isinstance(item, range) else item
        for item in step.items
    )


def _batch_last(entry: Input) -> tuple[int, ...]:
    """Return the order of axes that puts the batch axis behind the others."""
    return (*range(1, len(entry.type.shape) + 1), 0)


def _column(array: Array, step: Constant) -> Array:
    """Give a vector of numbers the batch axis."""
    return array[:, None] if step.type.shape else array


def _constant(step: Constant, like: Array) -> Array:
    """Return a constant on a tensor's device, filled there: a copy from the host would wait."""
    if not isinstance(step.value, tuple):
        return like.new_full((), step.value)
    vector = like.new_empty((len(step.value),))
    for row, value in enumerate(step.value):
        vector[row].fill_(value)
    return _column(vector, step)
