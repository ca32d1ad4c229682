"""Loss curves that must not move: a change of them is a change of the algorithm.

Where such a change is meant, write them again with ``python tests/golden/test_curves.py`` and say
so in the changelog.
"""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embodied.engine.data import Normaliser, OfflineData, RewardColumn, Source, returns_to_go
from policies.bc import BC, BCConfig
from policies.cql import CQL, CQLConfig
from policies.iql import IQL, IQLConfig
from policies.td3bc import TD3BC, TD3BCConfig

GOLDEN = Path(__file__).parent / "curves.json"
AT = (1, 2, 5, 10, 20, 40)  # updates after which the losses are kept
SHARED = {"hidden": (16, 16), "batch_size": 32, "learning_rate": 1e-3}
LEARNERS = {
    "iql": lambda: IQL(IQLConfig(**SHARED, polyak=0.05), 4, 2, [0, 1], AT[-1]),
    "bc": lambda: BC(BCConfig(**SHARED), 4, 2, [0, 1], AT[-1]),
    "td3bc": lambda: TD3BC(TD3BCConfig(**SHARED, polyak=0.05), 4, 2, [0, 1], AT[-1]),
    "cql": lambda: CQL(CQLConfig(**SHARED, polyak=0.05, samples=3), 4, 2, [0, 1], AT[-1]),
}


def tiny_data() -> OfflineData:
    """Six episodes of ten transitions; the reward falls with the distance from the origin."""
    rng = np.random.default_rng(0)
    observation = rng.random((66, 4), np.float32)
    row = np.arange(60) + np.repeat(np.arange(6), 10)
    terminated = np.zeros(60, bool)
    terminated[[9, 29, 49]] = True
    action = (2.0 * rng.random((60, 2), np.float32) - 1.0).astype(np.float32)
    source = Source(observation, action, terminated, np.arange(0, 60, 10))
    reward = RewardColumn(-np.abs(observation[row + 1]).sum(1).astype(np.float32))
    returns = returns_to_go(reward, source.episode_starts, 0.99)
    reward = replace(reward, return_to_go=returns)
    normaliser = Normaliser.fit(source, [-1.0, -1.0], [1.0, 1.0])
    return OfflineData([source], [normaliser], [(0, reward)] * 2)


def curve(name: str) -> dict[str, list[list[float]]]:
    """Return metric -> a row of both seeds' values for every update in ``AT`` that has it."""
    learner, data, found = LEARNERS[name](), tiny_data(), {}
    for before, step in zip((0, *AT), AT, strict=False):
        for key, value in learner.update(data, step - before).items():
            found.setdefault(key, []).append([float(f"{item:.6g}") for item in value])
    return found


@pytest.mark.parametrize("name", LEARNERS)
def test_the_curve_is_the_stored_one(name):
    stored = json.loads(GOLDEN.read_text(encoding="utf-8"))[name]
    found = curve(name)
    assert found.keys() == stored.keys()
    for key, values in stored.items():
        np.testing.assert_allclose(found[key], values, rtol=1e-3, atol=1e-4, err_msg=key)


if __name__ == "__main__":
    curves = {name: curve(name) for name in LEARNERS}
    text = json.dumps(curves, indent=1)
    text = re.sub(r"\s+(?=[-\d\]])", " ", text)  # a metric on one line
    GOLDEN.write_text(text + "\n", encoding="utf-8")
