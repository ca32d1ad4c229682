"""Keeps an episode: a line of JSON per tick at once, and arrays for the dataset at the end."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from embodied.types import Field, FloatArray, Robot
from real_robot.limits import number
from real_robot.tick import Tick


class Recorder:
    """Records one episode of a robot.

    ``trace.jsonl`` gets one line per tick, flushed at once, so that a kill loses at most the line
    being written. Numbers that are not finite are written as null; ``reasons`` tells why they came
    to nothing. Use it as a context manager, or call ``close``.

    Args:
        path: The trace file; its folder is made, an older file of that name is replaced.
        robot: Whose joints and features the episode has.
    """

    def __init__(self, path: Path, robot: Robot) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._joints = tuple(robot.joints)
        self._features = dict(robot.observation_features)
        self._stream = self.path.open("w", encoding="utf-8")
        self._observations: list[Mapping[str, Any]] = []  # T of them, then the final one
        self._commanded: list[list[float]] = []
        self._sent: list[list[float]] = []
        self._final: Mapping[str, Any] | None = None
        self._broken = False

    def record(self, tick: Tick) -> None:
        """Write one tick and keep its transition."""
        self._stream.write(json.dumps(_line(tick), allow_nan=False) + "\n")
        self._stream.flush()
        if self._broken:
            return
        if not self._usable(tick.observation):
            self._broken = True
        elif tick.sent is None:
            self._final = self._final or tick.observation
        else:
            assert tick.observation is not None
            self._final = None
            self._observations.append(tick.observation)
            self._commanded.append(self._row(tick.commanded))
            self._sent.append(self._row(tick.sent))

    def finish(self, observation: Mapping[str, Any] | None) -> None:
        """Keep the observation after the last action, None when there is none, and close."""
        if not self._broken and self._final is None and self._usable(observation):
            self._final = observation
        self.close()

    def close(self) -> None:
        """Close the trace; safe to call twice."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def episode(self) -> dict[str, FloatArray]:
        """Return the episode's arrays, float64: T actions and the T+1 observations around them.

        It ends before the first observation that is incomplete, not finite or not newer than the
        one before it, and with the last action whose outcome was observed.

        Returns:
            ``time`` [T+1] s; ``joint_position`` [T+1, J] rad and ``joint_velocity`` [T+1, J] rad/s
            in joint order; every other observation by its key with the dot as an underscore, as
            ``<object>_position`` [T+1, 3] m and ``<object>_velocity`` [T+1, 3] m/s in the world
            frame; ``commanded`` [T, J] rad, NaN where it was no finite number, and ``sent``
            [T, J] rad. All are empty when not one action's outcome was observed.
        """
        observations = list(self._observations)
        if self._final is not None:
            observations.append(self._final)
        length = max(0, len(observations) - 1)
        if not length:
            observations = []

        def column(keys: list[str]) -> FloatArray:
            rows = [[float(observation[key]) for key in keys] for observation in observations]
            return np.array(rows, np.float64).reshape(len(rows), len(keys))

        episode = {
            "time": column(["time"])[:, 0],
            "joint_position": column([f"{name}.pos" for name in self._joints]),
            "joint_velocity": column([f"{name}.vel" for name in self._joints]),
        }
        for key, field in self._others().items():
            rows = [np.asarray(observation[key], np.float64) for observation in observations]
            shape = (len(rows), *field.shape)
            episode[key.replace(".", "_")] = np.array(rows).reshape(shape)
        width = len(self._joints)
        episode["commanded"] = np.array(self._commanded[:length]).reshape(length, width)
        episode["sent"] = np.array(self._sent[:length]).reshape(length, width)
        return episode

    def _others(self) -> dict[str, Field]:
        own = {"time", *(f"{name}.{kind}" for name in self._joints for kind in ("pos", "vel"))}
        return {key: field for key, field in self._features.items() if key not in own}

    def _usable(self, observation: Mapping[str, Any] | None) -> bool:
        if not isinstance(observation, Mapping):
            return False
        for key, field in self._features.items():
            try:
                value = np.asarray(observation[key], np.float64)
            except (KeyError, TypeError, ValueError):
                return False
            if value.shape != field.shape or not np.isfinite(value).all():
                return False
        newest = self._observations[-1]["time"] if self._observations else -math.inf
        return bool(observation["time"] > newest)

    def _row(self, action: Any) -> list[float]:
        values = action if isinstance(action, Mapping) else {}
        numbers = (_finite(values.get(f"{name}.pos")) for name in self._joints)
        return [math.nan if value is None else value for value in numbers]


def _line(tick: Tick) -> dict[str, Any]:
    seen = tick.observation if isinstance(tick.observation, Mapping) else {}
    return {
        "index": tick.index,
        "started_at": _finite(tick.started_at),
        "lateness": _finite(tick.lateness),
        "observed_at": _finite(seen.get("time")),
        "observation_age": _finite(tick.observation_age),
        "inference": _finite(tick.inference),
        "commanded": _finite_targets(tick.commanded),
        "guarded": _finite_targets(tick.guarded),
        "sent": _finite_targets(tick.sent),
        "verdict": str(tick.verdict),
        "reasons": list(tick.reasons),
    }


def _finite(value: Any) -> float | None:
    known = number(value)
    return known if known is not None and math.isfinite(known) else None


def _finite_targets(action: Any) -> dict[str, float | None] | None:
    if not isinstance(action, Mapping):
        return None
    return {str(key): _finite(value) for key, value in action.items()}
