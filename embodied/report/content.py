"""What the report is made of, and the plain extraction of rows and curves from it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embodied.rounds import Round

MAX_POINTS = 160  # points of a drawn line; longer ones are averaged in bins


@dataclass(frozen=True)
class ReportContent:
    """Everything that the page shows; all text in it counts as coming from outside.

    Attributes:
        result: The run's ``result.json``: ``task, instruction, policy, reward, seeds, episodes,
            steps, wall_s, success, return, controls`` and, where there are any, ``notes``.
        metrics: The lines of ``metrics.jsonl``: ``step`` and ``<arm>/<metric>``, one number per
            seed, None where it became NaN.
        manifest: Versions, machine and commit.
        reward_source: The code of the reward, where it is code.
        terms: Each term of the reward at every step of one episode.
        total: The total reward at every step of the same episode.
        terms_caption: Which episode that is.
        videos: Name ("success", "failure") to an MP4 file.
        missing_videos: Why a video is missing, in plain words.
        deployment: What happened on the robot.
        rounds: The programs of an improvement loop, the run's first one included.
    """

    result: Mapping[str, Any]
    metrics: Sequence[Mapping[str, Any]]
    manifest: Mapping[str, Any]
    reward_source: str | None = None
    terms: Mapping[str, Sequence[float]] | None = None
    total: Sequence[float] | None = None
    terms_caption: str = ""
    videos: Mapping[str, Path] | None = None
    missing_videos: str = ""
    deployment: Mapping[str, Any] | None = None
    rounds: Sequence[Round] = ()


@dataclass(frozen=True)
class Arm:
    """One of the things that a run compares: its policy or a control."""

    key: str
    label: str
    style: int  # which of the page's colours and dashes it has, everywhere


# The order of the table and of every legend.
ARMS = (
    Arm("policy", "Policy", 0),
    Arm("true_reward", "True reward", 1),
    Arm("bc", "Behaviour cloning", 2),
    Arm("constant_reward", "Constant reward", 3),
    Arm("sft", "Cloning of what is preferred", 3),
    Arm("behaviour", "Behaviour (data)", 4),
)


def arm(key: str) -> Arm:
    """Return how an arm is named and drawn; an unknown one keeps its key as its name."""
    return next((item for item in ARMS if item.key == key), Arm(key, key.replace("_", " "), 5))


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95% interval and the means of the training seeds."""

    mean: float
    interval: tuple[float, float] | None
    per_seed: tuple[float, ...]


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    arm: Arm
    success: Estimate | None
    returns: Estimate | None
    iqm: float | None = None  # inter-quartile mean of the return over all episodes


def rows(result: Mapping[str, Any]) -> tuple[list[Row], list[Arm]]:
    """Return the policy and the controls with numbers, and the controls without any."""
    controls = dict(result.get("controls") or {})
    order = [item.key for item in ARMS if item.key in controls]
    order += sorted(controls.keys() - set(order))
    found, absent = [_row(arm("policy"), result)], []
    for row in (_row(arm(key), controls[key] or {}) for key in order):
        if row.success or row.returns:
            found.append(row)
        else:
            absent.append(row.arm)
    return found, absent


def _row(which: Arm, value: Mapping[str, Any]) -> Row:
    returns = value.get("return") or {}
    iqm = _number(returns.get("iqm"))
    return Row(which, estimate(value.get("success")), estimate(returns), iqm)


def estimate(value: Mapping[str, Any] | None) -> Estimate | None:
    """Return a summary of ``result.json`` as an estimate; None where it has no number."""
    mean = _number((value or {}).get("mean"))
    if value is None or mean is None:
        return None
    low, high = (_number(item) for item in (value.get("ci95") or (None, None)))
    interval = None if low is None or high is None else (low, high)
    return Estimate(mean, interval, tuple(numbers(value.get("per_seed"))))


def _number(value: Any) -> float | None:
    if isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    return None


def numbers(value: Any) -> list[float]:
    """Return the finite numbers of a number, a list or None."""
    items = value if isinstance(value, list | tuple) else [value]
    return [number for item in items if (number := _number(item)) is not None]


@dataclass(frozen=True)
class Curve:
    """A metric of one arm during training: one line per seed."""

    arm: Arm
    steps: list[float]
    seeds: list[list[float]]  # [S][T], gaps as NaN

    @property
    def mean(self) -> list[float]:
        """The mean over the seeds that have a value at that step; NaN where none has."""
        columns = ([y for y in column if y == y] for column in zip(*self.seeds, strict=True))
        return [math.fsum(column) / len(column) if column else math.nan for column in columns]


def curves(metrics: Sequence[Mapping[str, Any]]) -> dict[str, list[Curve]]:
    """Return ``metric -> curves``, arms in table order; ``policy/value/loss`` is ``value/loss``.

    What is no finite number is a gap, and an arm that has nothing else has no curve.
    """
    series: dict[str, dict[str, list[tuple[float, list[Any]]]]] = {}
    for line in metrics:
        step = _number(line.get("step"))
        for key, value in line.items():
            arm_key, _, metric = key.partition("/")
            if step is not None and metric:
                values = value if isinstance(value, list) else [value]
                series.setdefault(metric, {}).setdefault(arm_key, []).append((step, values))
    known = [item.key for item in ARMS]
    result = {}
    for metric in sorted(series):
        arms = {
            key: points
            for key, points in series[metric].items()
            if any(numbers(values) for _, values in points)
        }
        order = [key for key in known if key in arms] + sorted(arms.keys() - set(known))
        if arms:
            result[metric] = [_curve(arm(key), arms[key]) for key in order]
    return result


def _curve(which: Arm, points: list[tuple[float, list[Any]]]) -> Curve:
    seeds = [
        [next(iter(numbers(values[s : s + 1])), math.nan) for _, values in points]
        for s in range(max(len(values) for _, values in points))
    ]
    return Curve(which, thin([step for step, _ in points]), [thin(line) for line in seeds])


def thin(values: Sequence[float]) -> list[float]:
    """Average neighbours so that at most ``MAX_POINTS`` remain; NaN is left out of its mean."""
    size = -(-len(values) // MAX_POINTS)
    if size <= 1:
        return list(values)
    bins = (values[start : start + size] for start in range(0, len(values), size))
    kept = ([item for item in part if item == item] for part in bins)
    return [math.fsum(part) / len(part) if part else math.nan for part in kept]
