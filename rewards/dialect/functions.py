"""The two tables of array functions: the same names on NumPy arrays and on torch tensors.

``FUNCTIONS`` is what reward code may call, with the rule (see ``rules.py``) that gives the type of
the result. The tables also hold the operators. What is in neither table cannot be computed.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeAlias

import numpy as np

from embodied.types import Array

Rule: TypeAlias = Literal[
    "float", "bool", "where", "power", "reduce", "reduce_bool", "like", "join", "cross"
]
Table: TypeAlias = Mapping[str, Callable[..., Array]]


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

# Operators take Python numbers as they are, so that float32 arrays stay float32; every other entry
# gets its constants as arrays of the batch's own type.
OPERATORS: Table = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "power": operator.pow,
    "negative": operator.neg,
    "less": operator.lt,
    "less_equal": operator.le,
    "greater": operator.gt,
    "greater_equal": operator.ge,
    "equal": operator.eq,
    "not_equal": operator.ne,
}
ELEMENTWISE = (
    *("abs", "sqrt", "square", "exp", "expm1", "log", "log1p", "sign", "sin", "cos", "tan", "tanh"),
    *("arcsin", "arccos", "arctan", "arctan2", "hypot", "minimum", "maximum", "where"),
    *("logical_and", "logical_or", "logical_xor", "logical_not", "zeros_like", "ones_like"),
)


def _norm(x: Array, axis: int, keepdims: bool) -> Array:
    return np.sqrt(np.square(x).sum(axis=axis, keepdims=keepdims))


NUMPY: Table = {
    **OPERATORS,
    **{name: getattr(np, name) for name in ELEMENTWISE},
    **{name: getattr(np, name) for name in ("sum", "mean", "min", "max", "any", "all", "cross")},
    "clip": lambda x, low, high: np.minimum(np.maximum(x, low), high),
    "norm": _norm,
    "stack": lambda *arrays: np.stack(arrays, axis=-1),
    "concatenate": lambda *arrays: np.concatenate(arrays, axis=-1),
}


@cache
def torch_table() -> Table:
    """Return the torch table; torch is imported only when a batch of tensors comes."""
    import torch

    def reduction(function: Callable[..., Any]) -> Callable[..., Array]:
        return lambda x, axis, keepdims: function(x, dim=axis, keepdim=keepdims)

    return {
        **OPERATORS,
        **{name: getattr(torch, name) for name in ELEMENTWISE},
        **{name: reduction(getattr(torch, name)) for name in ("sum", "mean", "any", "all")},
        "min": reduction(torch.amin),
        "max": reduction(torch.amax),
        "norm": reduction(torch.linalg.vector_norm),
        "clip": lambda x, low, high: torch.minimum(torch.maximum(x, low), high),
        "cross": lambda a, b: torch.linalg.cross(a, b, dim=-1),
        "stack": lambda *arrays: torch.stack(arrays, dim=-1),
        "concatenate": lambda *arrays: torch.cat(arrays, dim=-1),
    }
