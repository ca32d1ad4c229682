"""Typing rules: what an operation gives, checked before any data is seen.

The batch axis is never broadcast, reduced or indexed: an operation on two batched values needs the
same number of axes on both. NumPy would accept ``[N, 3] * [N]`` whenever ``N`` happens to be 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rewards.dialect.errors import Refusal
from rewards.dialect.functions import NUMPY
from rewards.dialect.tree import Call, Constant, Index, Node, Type

MAX_WIDTH = 256  # elements per transition of any intermediate value
MAX_NUMBER = 1e6  # magnitude of a number in the source
MAX_FOLDED = 1e12  # magnitude of a number computed from numbers of the source
MAX_EXPONENT = 8.0
FAST_POWERS = {2.0: "square", 0.5: "sqrt"}  # NumPy's own ``**`` takes these functions, too
SCALAR = Type((), batched=False)


def number(value: float | bool) -> Constant:
    """Return a number of the source as a node.

    Raises:
        Refusal: It is not finite or too large.
    """
    if isinstance(value, bool):
        return Constant(value, Type((), batched=False, boolean=True))
    if not abs(value) <= MAX_NUMBER:
        raise Refusal("a number is not finite or too large", f"keep it within {MAX_NUMBER:g}")
    return Constant(float(value), SCALAR)


def elementwise(function: str, arguments: Sequence[Node], *, boolean: bool = False) -> Node:
    """Apply a function element by element to numbers; ``boolean`` marks a comparison."""
    values = tuple(to_float(argument) for argument in arguments)
    shape, batched = broadcast([value.type for value in values])
    return _fold(Call(function, values, Type(shape, batched, boolean)))


def logical(function: str, arguments: Sequence[Node]) -> Node:
    """Combine truth values element by element."""
    for argument in arguments:
        if not argument.type.boolean:
            raise Refusal(
                f"a logical operation needs truth values and got {argument.type}",
                "compare first, for example (distance < 0.03)",
            )
    shape, batched = broadcast([argument.type for argument in arguments])
    return _fold(Call(function, tuple(arguments), Type(shape, batched, boolean=True)))


def where(condition: Node, chosen: Node, other: Node) -> Node:
    """Choose element by element."""
    if not (condition.type.boolean and condition.type.batched):
        raise Refusal(
            f"a condition must be a comparison of batched values and is {condition.type}",
            "write np.where(distance < 0.03, a, b)",
        )
    arguments = (condition, to_float(chosen), to_float(other))
    shape, batched = broadcast([argument.type for argument in arguments])
    return Call("where", arguments, Type(shape, batched))


def power(base: Node, exponent: Node) -> Node:
    """Raise to a power that is a small number of the source."""
    if not isinstance(exponent, Constant) or exponent.type != SCALAR:
        raise Refusal("an exponent must be a number", "write np.exp(x) for a growing function")
    assert isinstance(exponent.value, float)
    if abs(exponent.value) > MAX_EXPONENT:
        raise Refusal("an exponent is too large", f"keep it within {MAX_EXPONENT:g}")
    if exponent.value in FAST_POWERS:
        return elementwise(FAST_POWERS[exponent.value], (base,))
    return elementwise("power", (base, exponent))


def divide(left: Node, right: Node) -> Node:
    """Divide, but not by a number that is zero."""
    if isinstance(right, Constant) and np.any(np.equal(right.value, 0)):
        raise Refusal("division by zero", "divide by something that cannot be zero")
    return elementwise("divide", (left, right))


def reduce(function: str, value: Node, axis: int, keepdims: bool, *, boolean: bool) -> Node:
    """Reduce one axis behind the batch axis."""
    rank = len(value.type.shape)
    if not value.type.batched or rank == 0:
        raise Refusal(
            f"there is no axis to reduce in {value.type}",
            "reduce vectors only; use np.minimum or np.maximum to combine two values",
        )
    if axis == 0 or not -rank <= (axis if axis < 0 else axis - rank - 1) <= -1:
        raise Refusal(f"axis {axis} cannot be reduced in {value.type}", "write axis=-1")
    if boolean and not value.type.boolean:
        raise Refusal(f"np.{function} needs truth values and got {value.type}", "compare first")
    axis = axis if axis < 0 else axis - rank - 1
    sizes = list(value.type.shape)
    sizes[axis] = 1
    if not keepdims:
        del sizes[axis]
    argument = value if boolean else to_float(value)
    kind = Type(tuple(sizes), batched=True, boolean=boolean)
    return Call(function, (argument,), kind, axis, keepdims)


def like(function: str, value: Node) -> Node:
    """Make zeros or ones in the shape of a batched value."""
    if not value.type.batched:
        raise Refusal(f"np.{function} needs a batched value and got {value.type}", "write a number")
    return Call(function, (to_float(value),), replace(value.type, boolean=False))


def join(function: str, values: Sequence[Node]) -> Node:
    """Stack [N] values into a vector, or append vectors, along the last axis."""
    shapes = [value.type.shape for value in values]
    rank = 0 if function == "stack" else 1
    if any(not value.type.batched or len(value.type.shape) != rank for value in values):
        kinds = ", ".join(str(value.type) for value in values)
        wanted = "values of shape [N]" if rank == 0 else "vectors of shape [N, k]"
        raise Refusal(f"np.{function} joins {wanted} and got {kinds}", f"give it {wanted}")
    size = len(shapes) if rank == 0 else sum(shape[0] for shape in shapes)
    _check_width((size,))
    arguments = tuple(to_float(value) for value in values)
    return Call(function, arguments, Type((size,), batched=True))


def cross(left: Node, right: Node) -> Node:
    """Take the cross product of two batches of 3-vectors."""
    if any(node.type.shape != (3,) or not node.type.batched for node in (left, right)):
        raise Refusal(
            f"np.cross needs two [N, 3] and got {left.type} and {right.type}", "give it two"
        )
    return Call("cross", (to_float(left), to_float(right)), Type((3,), batched=True))


def index(value: Node, items: Sequence[int | slice | None]) -> Node:
    """Index the axes behind the batch axis with numbers, slices and new axes."""
    sizes = list(value.type.shape)
    if sum(item is not None for item in items) > len(sizes):
        raise Refusal(f"too many indices for {value.type}", "write one for each axis")
    shape: list[int] = []
    taken: list[int | range | None] = []
    for item in items:
        if item is None:
            shape.append(1)
            taken.append(None)
            continue
        size = sizes.pop(0)
        if isinstance(item, slice):
            part = range(*item.indices(size))
            shape.append(len(part))
            taken.append(part)
        elif -size <= item < size:
            taken.append(item % size)
        else:
            raise Refusal(
                f"index {item} is outside an axis of size {size} in {value.type}", "count from 0"
            )
    if 0 in shape:
        raise Refusal(f"a slice takes nothing from {value.type}", "count from 0")
    _check_width((*shape, *sizes))
    return Index(value, tuple(taken), replace(value.type, shape=(*shape, *sizes)))


def to_float(value: Node) -> Node:
    """Turn truth values into 0.0 and 1.0; leave numbers as they are."""
    if not value.type.boolean:
        return value
    kind = replace(value.type, boolean=False)
    if isinstance(value, Constant):
        return Constant(float(bool(value.value)), kind)
    return Call("float", (value,), kind)


def broadcast(types: Sequence[Type]) -> tuple[tuple[int, ...], bool]:
    """Return the common shape of values and whether it is batched.

    Raises:
        Refusal: The shapes do not match behind the batch axis, or the result is too wide.
    """
    batched = any(kind.batched for kind in types)
    kinds = " and ".join(dict.fromkeys(str(kind) for kind in types if kind.shape or kind.batched))
    ranks = {len(kind.shape) for kind in types if kind.batched}
    vectors = [kind for kind in types if kind.shape and not kind.batched]
    if len(ranks) > 1 or (ranks and vectors and min(ranks) < 1):
        raise Refusal(
            f"shapes {kinds} do not match",
            "reduce the vector with np.linalg.norm(x, axis=-1) or np.sum(x, axis=-1), take one "
            "element with x[:, 0], or give the other an axis with y[:, None]",
        )
    try:
        shape = np.broadcast_shapes(*(kind.shape for kind in types))
    except ValueError:
        raise Refusal(f"shapes {kinds} do not match", "take matching parts of both") from None
    _check_width(shape)
    return shape, batched


def _check_width(shape: tuple[int, ...]) -> None:
    if math.prod(shape) > MAX_WIDTH or len(shape) > 4:
        raise Refusal(
            f"a value would hold {math.prod(shape)} elements per transition",
            f"keep it within {MAX_WIDTH} elements and 4 axes",
        )


def _fold(call: Call) -> Node:
    """Compute a call whose arguments are all constants, so that only batched work remains."""
    values = [node.value for node in call.arguments if isinstance(node, Constant)]
    if len(values) < len(call.arguments):
        return call
    result = np.empty(call.type.shape, bool if call.type.boolean else float)
    with np.errstate(all="ignore"):
        NUMPY[call.function](*(np.asarray(value) for value in values), out=result)
    if call.type.boolean:
        return Constant(bool(result), call.type) if not call.type.shape else _no_vector_truth()
    if not np.all(np.abs(result) <= MAX_FOLDED):
        hint = f"keep it within {MAX_FOLDED:g}"
        raise Refusal("a number computed from numbers is not finite or too large", hint)
    folded = float(result) if result.ndim == 0 else tuple(float(item) for item in result)
    return Constant(folded, call.type)


def _no_vector_truth() -> Node:
    raise Refusal("a comparison of constants is not needed", "write its result")
