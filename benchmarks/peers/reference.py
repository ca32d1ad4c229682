"""The task that every candidate of ``benchmarks/iql.py`` gets, and what one update must make of it.

The reference is plain torch in float64, which ``plain.check_equivalence`` holds against ours.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from benchmarks.peers.ours import Plain
from benchmarks.peers.protocol import FIELDS, Array, Task
from benchmarks.plain import ACTION, CONFIG, OBSERVATION, TOTAL_STEPS, TRANSITIONS
from policies.iql import IQL


def make_task(threads: int) -> Task:
    """Return the task: settings, synthetic data, one batch, and the weights of seed 0."""
    rng = np.random.default_rng(0)

    def fields(name: str, count: int) -> dict[str, Array]:
        values = (
            rng.standard_normal((count, OBSERVATION)),
            rng.uniform(-1.0, 1.0, (count, ACTION)),
            rng.standard_normal(count),
            rng.random(count) > 0.1,
            rng.standard_normal((count, OBSERVATION)),
        )
        pairs = zip(FIELDS, values, strict=True)
        return {f"{name}.{field}": value.astype(np.float32) for field, value in pairs}

    learner = IQL(CONFIG, OBSERVATION, ACTION, [0], TOTAL_STEPS)
    weights = {
        name: view.detach().numpy().copy()
        for network in (learner.actor, learner.value, learner.critic)
        for name, view in network.views.items()
    }
    data, batch = fields("data", TRANSITIONS), fields("batch", CONFIG.batch_size)
    settings = {**vars(CONFIG), "total_steps": TOTAL_STEPS, "threads": threads}
    return Task(settings, {**data, **batch, **weights})


def expected_weights(task: Task, peer: str) -> Mapping[str, Array]:
    """Return the weights after one update in float64, in the order that the peer takes it in."""
    expected = Plain(task).in_float64().after_one_update()
    if peer != "d3rlpy":
        return expected
    # Its critics see the old V; its log std is another parameter.
    old_value = Plain(task).in_float64()
    old_value.learner.value_adam.param_groups[0]["lr"] = 0.0
    critics = old_value.after_one_update()
    chosen = {
        name: critics[name] if name.startswith(("critic", "target")) else value
        for name, value in expected.items()
    }
    del chosen["actor.log_std"]
    return chosen


def largest_error(task: Task, expected: Mapping[str, Array], found: Mapping[str, Array]) -> float:
    """Return the largest error of a network, relative to what one update changes.

    The target critics move by less than float32 resolves well, so their error is told relative to
    the change of the critics; without any move it would be ``polyak``, far above the tolerance.
    """
    if set(expected) != set(found):
        raise SystemExit(f"a peer returned {sorted(found)} instead of {sorted(expected)}")

    def size(network: str, one: Mapping[str, Array], other: Mapping[str, Array]) -> float:
        names = [name for name in expected if name.startswith(network)]
        return sum(float(np.square(one[n].ravel() - other[n].ravel()).sum()) for n in names) ** 0.5

    changes = {name: size(name, expected, task.arrays) for name in ("actor", "value", "critic")}
    changes["target"] = changes["critic"]
    return max(size(name, found, expected) / change for name, change in changes.items())
