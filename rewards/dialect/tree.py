"""The typed tree that a program is made of: five kinds of nodes, none of Python's ``ast``."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Source: TypeAlias = Literal["state", "action", "next_state"]


@dataclass(frozen=True)
class Type:
    """What is known of a value before any data is seen.

    Attributes:
        shape: Shape without the batch axis.
        batched: Whether the value has the batch axis ``N`` in front of ``shape``.
        boolean: Whether it holds truth values; otherwise floating-point numbers.
    """

    shape: tuple[int, ...]
    batched: bool
    boolean: bool = False

    @property
    def width(self) -> int:
        """Elements per transition."""
        return math.prod(self.shape)

    def __str__(self) -> str:
        if not self.batched and not self.shape:
            return "a number"
        axes = (["N"] if self.batched else []) + [str(size) for size in self.shape]
        return f"{'bool ' if self.boolean else ''}[{', '.join(axes)}]"


@dataclass(frozen=True)
class Constant:
    """A number, a truth value or a vector of numbers that is known from the source."""

    value: float | bool | tuple[float, ...]
    type: Type


@dataclass(frozen=True)
class Input:
    """A documented field of ``state`` or ``next_state``, or the action (whose name is empty)."""

    source: Source
    name: str
    type: Type = field(compare=False)  # follows from the other two

    def __str__(self) -> str:
        return f"{self.source}.{self.name}" if self.name else self.source


@dataclass(frozen=True)
class Local:
    """The value that an earlier statement gave to a slot; in a ``Plan``, that of a step."""

    slot: int
    type: Type


@dataclass(frozen=True)
class Call:
    """An entry of the function tables, or an operator, applied to values."""

    function: str
    arguments: tuple[Node, ...]
    type: Type
    axis: int | None = None  # negative: counted from the last axis
    keepdims: bool = False


@dataclass(frozen=True)
class Index:
    """A subscript of the axes behind the batch axis, which itself is always taken whole."""

    value: Node
    items: tuple[int | range | None, ...]  # no number is negative
    type: Type


Node: TypeAlias = Constant | Input | Local | Call | Index
