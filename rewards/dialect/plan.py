"""A program as a list of steps: every value is computed once, and buffers are used again.

Value numbering (Cocke and Schwartz 1970) finds expressions that are written twice; statements that
no result needs are left out. Each step is a node of the tree whose arguments are ``Local``, with
the number of an earlier step each; a part of an input is read straight from the ``Input``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rewards.dialect.functions import COSTS, NUMPY
from rewards.dialect.tree import Call, Constant, Index, Input, Local, Node

BufferKind = tuple[tuple[int, ...], bool]  # shape without the batch axis, and whether boolean


@dataclass(frozen=True)
class Plan:
    """What is computed, in which order, and where it is kept.

    Attributes:
        steps: Nodes whose arguments are the steps before them.
        results: The steps that hold the total and the terms.
        buffers: The arrays that are needed, ``[*shape, N]`` each.
        places: For every step the buffer that takes its value; None for a constant and for a view.
        forgotten: For every step the steps whose values nothing needs after it.
        work: Additions per transition that the steps cost, about.
    """

    steps: tuple[Node, ...]
    results: tuple[int, ...]
    buffers: tuple[BufferKind, ...]
    places: tuple[int | None, ...]
    forgotten: tuple[tuple[int, ...], ...]
    work: int

    @property
    def width(self) -> int:
        """Elements per transition of all buffers together."""
        return sum(math.prod(shape) for shape, _ in self.buffers)


def build(statements: Sequence[Node], results: Sequence[Node]) -> Plan:
    """Put statements and the results that refer to them in order, without what is not needed."""
    numbering = _Numbering()
    for statement in statements:
        numbering.slots.append(numbering.number(statement))
    numbers = [numbering.number(result) for result in results]
    steps, numbers = _needed(numbering.steps, numbers)
    places, buffers, forgotten = _allocate(steps, numbers)
    work = sum(_cost(step, steps) for step in steps)
    return Plan(tuple(steps), tuple(numbers), buffers, places, forgotten, work)


def arguments(step: Node) -> tuple[int, ...]:
    """Return the steps that a step computes from."""
    if isinstance(step, Call):
        return tuple(item.slot for item in step.arguments if isinstance(item, Local))
    if isinstance(step, Index) and isinstance(step.value, Local):
        return (step.value.slot,)
    return ()


class _Numbering:
    """Gives equal expressions the same number."""

    def __init__(self) -> None:
        self.steps: list[Node] = []
        self.slots: list[int] = []
        self._known: dict[Hashable, int] = {}

    def number(self, node: Node) -> int:
        if isinstance(node, Local):
            return self.slots[node.slot]
        step = _with_arguments(node, lambda child: Local(self.number(child), child.type))
        # 0.0 and -0.0 are equal and yet two numbers: np.arctan2 tells them apart.
        key = (step, repr(step.value)) if isinstance(step, Constant) else step
        if key not in self._known:
            self._known[key] = len(self.steps)
            self.steps.append(step)
        return self._known[key]


def _with_arguments(node: Node, change: Callable[[Node], Node]) -> Node:
    if isinstance(node, Call):
        return replace(node, arguments=tuple(change(item) for item in node.arguments))
    if isinstance(node, Index) and not isinstance(node.value, Input):
        return replace(node, value=change(node.value))
    return node  # a part of an input is read straight from it


def _needed(steps: Sequence[Node], results: Sequence[int]) -> tuple[list[Node], list[int]]:
    """Keep the steps that a result is computed from, and number them anew."""
    needed = set(results)
    for number in range(len(steps) - 1, -1, -1):
        if number in needed:
            needed.update(arguments(steps[number]))
    new = {old: number for number, old in enumerate(sorted(needed))}

    def renumber(node: Node) -> Node:
        assert isinstance(node, Local)
        return Local(new[node.slot], node.type)

    kept = [_with_arguments(steps[old], renumber) for old in new]
    return kept, [new[old] for old in results]


def _allocate(
    steps: Sequence[Node], results: Sequence[int]
) -> tuple[tuple[int | None, ...], tuple[BufferKind, ...], tuple[tuple[int, ...], ...]]:
    """Choose a buffer for every value; a buffer is free again after the last use of its value."""
    roots = _roots(steps)
    members: dict[int, list[int]] = {}
    for number, root in roots.items():
        members.setdefault(root, []).append(number)
    last = {roots[number]: number for number in range(len(steps))}
    for number, step in enumerate(steps):
        last.update({roots[item]: number for item in arguments(step)})
    last.update({roots[item]: len(steps) for item in results})
    buffers: list[BufferKind] = []
    free: dict[BufferKind, list[int]] = {}
    places: list[int | None] = []
    forgotten: list[tuple[int, ...]] = []
    for number, step in enumerate(steps):
        ending = {roots[item] for item in arguments(step) if last[roots[item]] == number}
        held = [places[item] for item in sorted(ending)]
        over = [(buffers[place], place) for place in held if place is not None]
        in_place = isinstance(step, Call) and isinstance(NUMPY[step.function], np.ufunc)
        if in_place:
            _release(free, over)
        if isinstance(step, Constant) or roots[number] != number:
            places.append(None)
        else:
            kind = (step.type.shape, step.type.boolean)
            if free.get(kind):
                places.append(free[kind].pop())
            else:
                places.append(len(buffers))
                buffers.append(kind)
        if not in_place:
            _release(free, over)
        forgotten.append(tuple(item for root in sorted(ending) for item in members[root]))
    return tuple(places), tuple(buffers), tuple(forgotten)


def _release(free: dict[BufferKind, list[int]], over: Sequence[tuple[BufferKind, int]]) -> None:
    for kind, place in over:
        free.setdefault(kind, []).append(place)


def _roots(steps: Sequence[Node]) -> dict[int, int]:
    """Return for every step the one that owns the memory: an index of a value is a view of it."""
    roots: dict[int, int] = {}
    for number, step in enumerate(steps):
        view = isinstance(step, Index) and isinstance(step.value, Local)
        roots[number] = roots[arguments(step)[0]] if view else number
    return roots


def _cost(step: Node, steps: Sequence[Node]) -> int:
    if isinstance(step, Constant):
        return 0
    widths = [step.type.width, *(steps[item].type.width for item in arguments(step))]
    return max(widths) * (COSTS.get(step.function, 1) if isinstance(step, Call) else 1)
