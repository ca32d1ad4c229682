"""From rows of a foreign file to episodes of ``T`` transitions and ``T + 1`` observations.

Files that hold ``(o_t, a_t)`` alone lack the observation that the last action led to. One rule for
all of them: at a terminal state nothing is bootstrapped, so the last observation stands in for the
missing one; everywhere else the value of the missing observation would matter, so the last action
is left out and the last observation closes the episode. Where the file records next observations,
they are used as they are, and a row whose next observation is not the next row's observation ends
its episode.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from embodied.dataset import Episode
from embodied.errors import UserError
from embodied.formats.source import NUMBERS, Counts, native, one_per_step, stored_names
from embodied.types import Array

# Key of an observation that is one vector; empty, as a file may name any other key itself.
OBSERVATION = ""
PER_STEP = ("environment_reward", "success")  # columns [T] that some files hold as [T, 1]


@dataclass(frozen=True)
class Steps:
    """Consecutive steps of one episode, as a foreign file records them."""

    observed: Mapping[str, Array]  # by name, [T, ...] at s_t, or [T + 1, ...] with the last
    action: Array  # [T, A]
    terminated: bool = False  # the last step led to a terminal state
    timeout: bool = False  # the last step was the last that a time limit allowed
    columns: Mapping[str, Array] = field(default_factory=dict)  # [T, ...]
    following: Mapping[str, Array] | None = None  # [T, ...] at s_{t+1}, where recorded


def episode_from_rows(steps: Steps, counts: Counts) -> Iterator[Episode]:
    """Yield the episodes in ``steps``: one, or none, or several where next observations say so.

    ``counts`` is told how each ended and what was repeated or left out.

    Raises:
        UserError: Arrays whose lengths do not fit together.
    """
    _check_lengths(steps)
    steps = _as_kept(steps)
    parts = [steps] if steps.following is None else list(_split_at_gaps(steps))
    for part in parts:
        whole = _with_last_row(part, counts)
        if not len(whole.action):
            continue
        if part.terminated:
            counts.terminated += 1
        elif part.timeout:
            counts.truncated += 1
        else:
            counts.cut += 1
        yield _episode(whole)


def split_at_ends(steps: Steps, terminal: Array, timeout: Array) -> Iterator[Steps]:
    """Yield the parts of recorded steps, each with its own end.

    Args:
        steps: Consecutive steps, whose own ``terminated`` and ``timeout`` are not used.
        terminal: Whether a step led to a terminal state, [T] or [T, 1].
        timeout: Whether a time limit ended the episode after a step, as ``terminal``.

    Raises:
        UserError: Arrays whose lengths do not fit together.
    """
    _check_lengths(steps)
    length = len(steps.action)
    flags = {"terminal flags": terminal, "time limit flags": timeout}
    ended, late = (one_per_step(values, name).astype(bool) for name, values in flags.items())
    for name, values in flags.items():
        if len(values) != length:
            raise UserError(f"{len(values)} {name} for {length} actions; they must fit")
    stops = np.flatnonzero(ended | late) + 1
    stops = stops if len(stops) and stops[-1] == length else np.append(stops, length)
    for start, stop in zip([0, *stops[:-1].tolist()], stops.tolist(), strict=True):
        part = _part(steps, start, stop)
        yield replace(
            part, terminated=bool(ended[start:stop].any()), timeout=bool(late[start:stop].any())
        )


def _part(steps: Steps, start: int, stop: int) -> Steps:
    more = len(next(iter(steps.observed.values()))) - len(steps.action)
    following = steps.following
    return replace(
        steps,
        observed={name: values[start : stop + more] for name, values in steps.observed.items()},
        action=steps.action[start:stop],
        columns={name: values[start:stop] for name, values in steps.columns.items()},
        following=None
        if following is None
        else {name: values[start:stop] for name, values in following.items()},
    )


def _as_kept(steps: Steps) -> Steps:
    following = steps.following
    return replace(
        steps,
        observed={name: native(values) for name, values in steps.observed.items()},
        action=native(steps.action),
        columns={
            name: one_per_step(native(values), name) if name in PER_STEP else native(values)
            for name, values in steps.columns.items()
        },
        following=None
        if following is None
        else {name: native(values) for name, values in following.items()},
    )


def _check_lengths(steps: Steps) -> None:
    length = len(steps.action)
    for name, values in steps.observed.items():
        if len(values) not in (length, length + 1):
            told = name or "the observation"
            raise UserError(f"{len(values)} rows of {told} for {length} actions; they must fit")
    for name, values in {**steps.columns, **(steps.following or {})}.items():
        if len(values) != length:
            told = name or "the next observation"
            raise UserError(f"{len(values)} rows of {told} for {length} actions; they must fit")
    if len({len(values) for values in steps.observed.values()}) != 1:
        raise UserError("observations of one episode differ in length; they must fit")
    if steps.following is not None and steps.following.keys() != steps.observed.keys():
        raise UserError("next observations have other names than the observations")


def _split_at_gaps(steps: Steps) -> Iterator[Steps]:
    assert steps.following is not None
    length = len(steps.action)
    goes_on = np.ones(max(length - 1, 0), bool)
    for name, values in steps.following.items():
        here, there = values[:-1], steps.observed[name][1:length]
        equal = (here == there) | ((here != here) & (there != there))  # NaN equals itself
        goes_on &= equal.all(axis=tuple(range(1, equal.ndim)))
    ends = [*(np.flatnonzero(~goes_on) + 1).tolist(), length]
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        last = end == length
        yield replace(
            _part(steps, start, end),
            observed={
                name: np.concatenate([values[start:end], steps.following[name][end - 1 : end]])
                for name, values in steps.observed.items()
            },
            terminated=last and steps.terminated,
            timeout=last and steps.timeout,
            following=None,
        )


def _with_last_row(steps: Steps, counts: Counts) -> Steps:
    length = len(steps.action)
    if all(len(values) == length + 1 for values in steps.observed.values()):
        return steps
    if steps.terminated:
        counts.stand_in += 1
        observed = {
            name: np.concatenate([values, values[-1:]]) for name, values in steps.observed.items()
        }
        return replace(steps, observed=observed)
    counts.dropped_last += 1
    columns = {name: values[:-1] for name, values in steps.columns.items()}
    return replace(steps, action=steps.action[:-1], columns=columns)


def _episode(steps: Steps) -> Episode:
    """Return the episode, its observation made of every number and vector that is observed."""
    named = stored_names({k: v for k, v in steps.observed.items() if k != OBSERVATION})
    if OBSERVATION in steps.observed:
        vector = steps.observed[OBSERVATION]
    else:
        parts = [
            values.reshape(len(values), -1)
            for _, values in sorted(named.items())
            if values.ndim <= 2 and values.dtype.kind == "f"
        ]
        if not parts:
            raise UserError(
                f"none of the observations {', '.join(sorted(named))} is a vector of "
                "floating-point numbers, which policies need"
            )
        vector = np.concatenate(parts, axis=1)
    if vector.ndim != 2 or vector.dtype.kind not in NUMBERS or steps.action.ndim != 2:
        raise UserError(
            f"observation {vector.dtype}{list(vector.shape)} and action "
            f"{steps.action.dtype}{list(steps.action.shape)}: both must be vectors of numbers per "
            "step"
        )
    return Episode(
        observation=vector,
        action=steps.action,
        terminated=steps.terminated,
        state=named,
        columns=stored_names(steps.columns),
    )
