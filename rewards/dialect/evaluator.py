"""The tree walker: a program on a batch of arrays. It knows five kinds of nodes and two tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from embodied.errors import UserError
from embodied.types import Array
from rewards.dialect.functions import NUMPY, OPERATORS, Table, torch_table
from rewards.dialect.parser import Program
from rewards.dialect.tree import Call, Constant, Index, Input, Local, Node


def is_tensor(array: Array) -> bool:
    """Return whether an array is a torch tensor, without importing torch."""
    return type(array).__module__.partition(".")[0] == "torch"


def evaluate(program: Program, inputs: Mapping[Input, Array]) -> tuple[Array, dict[str, Array]]:
    """Compute a program.

    Args:
        program: What ``parse`` returned.
        inputs: An array ``[N, *shape]`` for each of ``program.inputs``; all of one floating-point
            type, all NumPy arrays or all torch tensors of one device. They are not written to.

    Returns:
        The total ``[N]`` and the terms ``{name: [N]}``, in the type of the inputs. They may hold
        values that are not finite; ``finite`` refuses these.
    """
    like = inputs[program.inputs[0]]
    walker = _TensorWalker(inputs, like) if is_tensor(like) else _Walker(inputs, like)
    with np.errstate(all="ignore"):  # what is not finite is found in the results
        for statement in program.statements:
            walker.slots.append(walker.value(statement))
        total = walker.value(program.total)
        terms = {name: walker.value(term) for name, term in program.terms}
    rows = (like.shape[0],)
    for array in (total, *terms.values()):
        if tuple(array.shape) != rows or array.dtype != like.dtype:
            raise AssertionError(f"a result has shape {array.shape} and type {array.dtype}")
    return total, terms


def check_finite(total: Array, terms: Mapping[str, Array]) -> None:
    """Raise UserError when a total or a term is infinite or not a number."""
    for name, array in [
        *((f"the term {name!r}", term) for name, term in terms.items()),
        ("the total", total),
    ]:
        finite = array.isfinite() if is_tensor(array) else np.isfinite(array)
        if not bool(finite.all()):
            bad = array.shape[0] - int(finite.sum())
            raise UserError(
                f"{name} is infinite or not a number in {bad} of {array.shape[0]} transitions; "
                "guard divisions, logarithms and square roots, for example np.maximum(x, 1e-6)"
            )


@dataclass
class _Walker:
    """Evaluates nodes on NumPy arrays."""

    inputs: Mapping[Input, Array]
    like: Array

    def __post_init__(self) -> None:
        self.slots: list[Array] = []
        self.table: Table = self.functions()

    def functions(self) -> Table:
        return NUMPY

    def constant(self, value: Any) -> Array:
        return np.asarray(value, dtype=self.like.dtype)

    def to_float(self, value: Array) -> Array:
        return value.astype(self.like.dtype)

    def value(self, node: Node) -> Array:
        """Return the array of a node; the parser has bounded the depth of this recursion."""
        if isinstance(node, Call):
            return self._call(node)
        if isinstance(node, Local):
            return self.slots[node.slot]
        if isinstance(node, Input):
            return self.inputs[node]
        if isinstance(node, Index):
            return self.value(node.value)[(slice(None), *node.items)]
        return self.constant(node.value)

    def _call(self, node: Call) -> Array:
        if node.function == "float":
            return self.to_float(self.value(node.arguments[0]))
        function = self.table[node.function]
        if node.axis is not None:
            argument = self.value(node.arguments[0])
            return function(argument, axis=node.axis, keepdims=node.keepdims)
        plain = node.function in OPERATORS
        return function(*[self._argument(argument, plain) for argument in node.arguments])

    def _argument(self, node: Node, plain: bool) -> Any:
        if plain and isinstance(node, Constant) and not node.type.shape:
            return node.value
        return self.value(node)


class _TensorWalker(_Walker):
    """Evaluates nodes on torch tensors of one device."""

    def functions(self) -> Table:
        return torch_table()

    def constant(self, value: Any) -> Array:
        if isinstance(value, tuple):
            return self.like.new_tensor(value)
        return self.like.new_full((), value)

    def to_float(self, value: Array) -> Array:
        return value.to(self.like.dtype)
