"""The two tables of array functions: the same names on NumPy arrays and on torch tensors.

``FUNCTIONS`` is what reward code may call, with the rule (see ``rules.py``) that gives the type of
the result. The tables also hold the operators. What is in neither table cannot be computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeAlias

import numpy as np

from embodied.types import Array

Rule: TypeAlias = Literal[
    "float", "bool", "where", "power", "reduce", "reduce_bool", "like", "join", "cross"
]
Table: TypeAlias = Mapping[str, Callable[..., Any]]


@dataclass(frozen=True)
class Function:
    """One listed function: how it is written in reward code, and how it is typed."""

    usage: str
    rule: Rule
    arity: int  # values that it takes; "join" takes them in one list
    entry: str  # key of the tables below


def _listed() -> dict[str, Function]:
    listed: dict[str, Function] = {}

    def add(rule: Rule, values: str, *names: str, axis: str = "") -> None:
        for name in names:
            usage = f"np.{name}({values}{axis})"
            entry = ALIASES.get(name, name)
            listed[name] = Function(usage, rule, values.count(",") + 1, entry)

    add("float", "x", "abs", "absolute", "sqrt", "square", "exp", "expm1", "log", "log1p")
    add("float", "x", "sin", "cos", "tan", "arcsin", "arccos", "arctan", "tanh", "sign")
    add("float", "a, b", "minimum", "maximum", "arctan2", "hypot")
    add("float", "x, low, high", "clip")
    add("power", "x, exponent", "power")
    add("where", "condition, a, b", "where")
    add("bool", "a, b", "logical_and", "logical_or", "logical_xor")
    add("bool", "a", "logical_not")
    reductions = ("linalg.norm", "sum", "mean", "min", "max", "amin", "amax")
    add("reduce", "x", *reductions, axis=", axis=-1")
    add("reduce_bool", "x", "any", "all", axis=", axis=-1")
    add("like", "x", "zeros_like", "ones_like")
    add("join", "[a, b]", "stack", "concatenate", axis=", axis=-1")
    add("cross", "a, b", "cross")
    return listed


ALIASES = {"absolute": "abs", "amin": "min", "amax": "max", "linalg.norm": "norm"}
FUNCTIONS: Mapping[str, Function] = _listed()
NUMBERS: Mapping[str, float] = {"np.pi": float(np.pi)}

# What an element costs beside an addition, about: the dearer of measurements with NumPy's vector
# code and without it.
COSTS: Mapping[str, int] = {
    **dict.fromkeys(("exp", "log", "sin", "cos", "tanh", "clip", "norm", "cross"), 4),
    "where": 8,
    **dict.fromkeys(("expm1", "log1p", "tan", "arcsin", "arccos", "arctan", "arctan2"), 16),
    **dict.fromkeys(("hypot", "power"), 32),
}
ELEMENTWISE = (
    *("add", "subtract", "multiply", "divide", "negative", "minimum", "maximum"),
    *("less", "less_equal", "greater", "greater_equal", "not_equal"),
    *("abs", "sqrt", "square", "exp", "expm1", "log", "log1p", "sign", "sin", "cos", "tan", "tanh"),
    *("arcsin", "arccos", "arctan", "arctan2", "hypot"),
    *("logical_and", "logical_or", "logical_xor", "logical_not"),
)


def _reduction(function: Any) -> Callable[..., Any]:
    return lambda x, axis, keepdims, out: function.reduce(x, axis=axis, out=out, keepdims=keepdims)


def _norm(x: Array, axis: int, keepdims: bool, out: Array) -> None:
    np.add.reduce(np.square(x), axis=axis, out=out, keepdims=keepdims)
    np.sqrt(out, out)


def _mean(x: Array, axis: int, keepdims: bool, out: Array) -> None:
    np.add.reduce(x, axis=axis, out=out, keepdims=keepdims)
    np.divide(out, x.shape[axis], out)


def _clip(x: Array, low: Array, high: Array, out: Array) -> None:
    np.maximum(x, low, out=out)
    np.minimum(out, high, out=out)


def _stack(*arrays: Array, out: Array) -> None:
    for row, array in enumerate(arrays):
        out[row] = array


def _concatenate(*arrays: Array, out: Array) -> None:
    np.concatenate(arrays, out=out)


def _cross(a: Array, b: Array, out: Array) -> None:
    for row in range(3):
        one, two = (row + 1) % 3, (row + 2) % 3
        np.multiply(a[one], b[two], out[row])
        np.subtract(out[row], a[two] * b[one], out[row])


# The batch axis is the last one, [..., N], so that every operation runs along memory. ``out`` takes
# the result; only for ufuncs it may be one of the arguments.
NUMPY: Table = {
    **{name: getattr(np, name) for name in ELEMENTWISE},
    "equal": np.equal,
    "power": np.power,
    "sum": _reduction(np.add),
    "min": _reduction(np.minimum),
    "max": _reduction(np.maximum),
    "any": _reduction(np.logical_or),
    "all": _reduction(np.logical_and),
    "mean": _mean,
    "norm": _norm,
    "where": lambda condition, a, b, out: np.copyto(out, np.where(condition, a, b)),
    "clip": _clip,
    "cross": _cross,
    "stack": _stack,
    "concatenate": _concatenate,
    "zeros_like": lambda x, out: out.fill(0),
    "ones_like": lambda x, out: out.fill(1),
    "float": lambda x, out: np.copyto(out, x),
}


@cache
def torch_table() -> Table:
    """Return the torch table; torch is imported only when a batch of tensors comes.

    Its functions return their result, and have the batch axis last, too.
    """
    import torch

    def reduction(function: Callable[..., Any]) -> Callable[..., Array]:
        return lambda x, axis, keepdims: function(x, dim=axis, keepdim=keepdims)

    return {
        **{name: getattr(torch, name) for name in ELEMENTWISE},
        **{name: getattr(torch, name) for name in ("where", "zeros_like", "ones_like")},
        "sign": lambda x: torch.where(x.isnan(), x, torch.sign(x)),  # torch's own hides NaN as 0
        "equal": torch.eq,
        "power": torch.pow,
        **{name: reduction(getattr(torch, name)) for name in ("sum", "mean", "any", "all")},
        "min": reduction(torch.amin),
        "max": reduction(torch.amax),
        "norm": reduction(torch.linalg.vector_norm),
        "clip": lambda x, low, high: torch.minimum(torch.maximum(x, low), high),
        # torch's own rounds once less: the product of parallel vectors is then not quite zero.
        "cross": lambda a, b: a.roll(-1, 0) * b.roll(-2, 0) - a.roll(-2, 0) * b.roll(-1, 0),
        "stack": lambda *arrays: torch.stack(arrays),
        "concatenate": lambda *arrays: torch.cat(arrays),
    }
