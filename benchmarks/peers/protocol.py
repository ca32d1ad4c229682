"""What every worker of ``benchmarks/iql.py`` shares: the task it is given and the lines it speaks.

A worker is one process that trains one candidate, so that libraries whose requirements exclude each
other can take turns on one machine. It needs numpy and its own library. Its first argument is a
folder with ``task.json`` and ``task.npz``; then it answers lines:

    (start)     -> ready {"package": "version", ...}   after its first update
    run N       -> N' SECONDS      N' >= N updates, and how long they took
    check PATH  -> done            PATH.npz: the weights after one update on the task's batch

Between two lines it sleeps on its standard input. It ends with its standard input.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
FIELDS = ("observation", "action", "reward", "mask", "next_observation")


@dataclass(frozen=True)
class Task:
    """The same task for every candidate."""

    settings: Mapping[str, Any]  # fields of IQLConfig, "total_steps" and "threads"
    arrays: Mapping[str, Array]  # "data.<field>", "batch.<field>", and the initial weights

    def fields(self, name: str) -> list[Array]:
        """Return ``FIELDS`` of ``data`` or ``batch``, float32 ``[N, ...]`` each."""
        return [self.arrays[f"{name}.{field}"] for field in FIELDS]

    def layers(self, name: str, member: int = 0) -> list[tuple[Array, Array]]:
        """Return weights ``[in, out]`` and biases ``[out]`` of an initial network."""
        count = len(self.settings["hidden"]) + 1
        return [
            (
                self.arrays[f"{name}.{i}.weight"][member],
                self.arrays[f"{name}.{i}.bias"][member].ravel(),
            )
            for i in range(count)
        ]


class Trainer(Protocol):
    """What a worker wraps its library into."""

    def train(self, updates: int) -> int:
        """Take at least so many updates; return how many, once they have been computed."""
        ...

    def after_one_update(self) -> Mapping[str, Array]:
        """Take the first update on the task's batch; return the weights, named as in the task."""
        ...


def save_task(folder: Path, task: Task) -> None:
    """Write a task for workers to read."""
    (folder / "task.json").write_text(json.dumps(task.settings), encoding="utf-8")
    np.savez(folder / "task.npz", **task.arrays)


def load_task(folder: Path) -> Task:
    """Read what ``save_task`` wrote."""
    settings = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    with np.load(folder / "task.npz", allow_pickle=False) as stored:
        return Task(settings, dict(stored))


def named(name: str, members: Sequence[Sequence[tuple[Array, Array]]]) -> dict[str, Array]:
    """Return the layers of ``K`` equal networks under the task's names.

    Args:
        name: ``actor``, ``value``, ``critic`` or ``target``.
        members: For every network its ``(weight [in, out], bias [out])`` pairs.

    Returns:
        Weights ``[K, in, out]`` and biases ``[K, out]``.
    """
    found: dict[str, Array] = {}
    for i, pairs in enumerate(zip(*members, strict=True)):
        found[f"{name}.{i}.weight"] = np.stack([np.asarray(weight) for weight, _ in pairs])
        found[f"{name}.{i}.bias"] = np.stack([np.asarray(bias) for _, bias in pairs])
    return found


def serve(make: Callable[[Task], Trainer], packages: Sequence[str]) -> None:
    """Answer the parent's lines until it closes its end."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # libraries print; the parent must not see it
    task = load_task(Path(sys.argv[1]))
    trainer = make(task)
    trainer.train(1)
    print("ready", json.dumps({name: version(name) for name in packages}), file=replies)
    for line in sys.stdin:
        verb, _, rest = line.strip().partition(" ")
        if verb == "run":
            begin = time.perf_counter()
            updates = trainer.train(int(rest))
            print(updates, time.perf_counter() - begin, file=replies)
        elif verb == "check":
            np.savez(rest, **make(task).after_one_update())
            print("done", file=replies)
        else:
            raise ValueError(f"unknown line {line!r}")
