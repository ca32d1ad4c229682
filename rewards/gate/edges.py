"""Whether a reward stays finite where its inputs are at an edge.

Sampled transitions rarely hold a vector of length zero or two things in one place, and a division
that is not guarded waits there for the policy that gets that far.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations

import numpy as np

from embodied.errors import UserError
from embodied.types import Array, Field, Reward, Task, Transitions
from rewards.checks import select, to_numpy
from rewards.gate.counterfactual import States, after, before, joined

ROWS = 8  # real transitions that are brought to each edge

Fields = dict[str, Array]


def not_finite(reward: Reward, task: Task, sample: Transitions) -> tuple[list[str], int]:
    """Return in words each edge at which a reward is not finite, and how many edges were tried.

    Args:
        reward: Reads the task's fields and the action.
        task: Documents the fields.
        sample: Transitions of the task; a few of them are brought to each edge.
    """
    found, tried = [], 0
    for name, batch in edges(task, sample):
        tried += 1
        try:
            score = reward.score(batch)
        except UserError:  # a program tells by this that its result is not finite
            found.append(name)
            continue
        values = [score.total, *score.terms.values()]
        if not all(np.isfinite(to_numpy(item)).all() for item in values):
            found.append(name)
    return found, tried


def edges(task: Task, sample: Transitions) -> Iterator[tuple[str, Transitions]]:
    """Yield what the edge is in words, and transitions ``[ROWS]`` at it.

    The edges are: each field at zero and at its documented low and high; all of them at once; each
    pair of positions (same shape, unit and frame) in one place, and one above the other; no change
    from state to next state; the action at zero, low and high. Fields are brought there in the
    state and in the next state, since either may be divided by.
    """
    batch = select(sample, np.linspace(0, len(sample) - 1, ROWS).astype(np.int64))
    start, end = (_known(states, task) for states in (before(batch), after(batch)))

    def made(changes: Fields) -> Transitions:
        sides = (States(side.observation, {**side.fields, **changes}) for side in (start, end))
        return joined(next(sides), batch.action, next(sides))

    for name, changes in _field_edges(task.fields, end.fields):
        yield name, made(changes)
    for first, second in _pairs(task.fields, end.fields):
        yield (
            f"{first} and {second} coincide",
            made({first: end.fields[second], second: end.fields[second]}),
        )
        if task.fields[first].shape == (3,):
            above = np.array(end.fields[second])
            above[:, 2] += 0.1
            yield (
                f"{first} is straight above {second}",
                made({first: above, second: end.fields[second]}),
            )
    yield "nothing moves", joined(end, batch.action, end)
    for name, value in (
        ("zero", 0.0),
        ("its low", task.action.low),
        ("its high", task.action.high),
    ):
        if value is not None:
            action = np.broadcast_to(np.asarray(value, np.float32), batch.action.shape)
            yield f"the action is at {name}", joined(start, action, end)


def _known(states: States, task: Task) -> States:
    """Return states with the documented fields alone, as NumPy arrays."""
    fields = {name: to_numpy(states.fields[name]) for name in task.fields if name in states.fields}
    return States(states.observation, fields)


def _field_edges(
    documented: Mapping[str, Field], real: Mapping[str, Array]
) -> Iterator[tuple[str, Fields]]:
    """Yield each edge of single fields, then the same edge of all at once."""
    together: dict[str, Fields] = {"zero": {}, "its low": {}, "its high": {}}
    for name, values in real.items():
        entry = documented[name]
        for edge, value in (("zero", 0.0), ("its low", entry.low), ("its high", entry.high)):
            if value is not None:
                full = np.broadcast_to(
                    np.reshape(np.asarray(value, values.dtype), _inner(value, entry)), values.shape
                )
                together[edge][name] = full
                yield f"{name} is at {edge}", {name: full}
    for edge, changes in together.items():
        if len(changes) > 1:
            yield f"every field is at {edge}", changes


def _inner(value: float | tuple[float, ...], entry: Field) -> tuple[int, ...]:
    """Return the shape of a bound, which is one number or one per element."""
    return entry.shape if np.size(value) > 1 else (1,) * len(entry.shape)


def _pairs(documented: Mapping[str, Field], real: Mapping[str, Array]) -> Iterator[tuple[str, str]]:
    """Yield the pairs of positions that can be in one place."""
    for first, second in combinations(real, 2):
        kinds = [
            (documented[name].shape, documented[name].unit, documented[name].frame)
            for name in (first, second)
        ]
        if kinds[0] == kinds[1] and kinds[0][0]:
            yield first, second
