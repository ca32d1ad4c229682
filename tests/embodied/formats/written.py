"""Episodes for the tests of the writers, and what has to come back of them."""

from __future__ import annotations

import numpy as np

from embodied.dataset import Episode
from embodied.dataset_json import DatasetInfo
from embodied.types import Field

LENGTHS = ((7, True), (5, False), (1, True), (9, False))  # transitions; ended in a terminal state


def info(**changes) -> DatasetInfo:
    values = {
        "environment": "push",
        "action": Field((2,), "rad", "Joint targets.", low=(-1.0, -0.5), high=(1.0, 0.5)),
        "fields": {"cube": Field((3,), "m", "Position of the cube.", "world")},
        "control_hz": 20.0,
        "origin": {"instruction": "push the cube", "seed": 3},
    }
    return DatasetInfo(**{**values, **changes})


def picture(step: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A smooth image that tells its step: codecs keep it within a few levels."""
    rows, columns = np.arange(height)[:, None, None], np.arange(width)[None, :, None]
    return (20 + 8 * step + rows + columns + np.array([0, 20, 40])).astype(np.uint8)


def episode(length: int, terminated: bool, seed: int, camera: bool = False) -> Episode:
    rng = np.random.default_rng(seed)

    def normal(*shape: int, dtype: str = "f4") -> np.ndarray:
        return rng.normal(size=shape).astype(dtype)

    rows = length + 1
    state = {
        "cube": normal(rows, 3),
        "height": normal(rows),
        "grid": normal(rows, 2, 3),
        "blocks": normal(rows, 2, 3, 2, dtype="f8"),
        "depth": rng.integers(0, 256, (rows, 4, 5, 1)).astype(np.uint8),
    }
    if camera:
        state["front"] = np.stack([picture(step) for step in range(rows)])
    return Episode(
        observation=normal(rows, 4),
        action=rng.uniform(-0.5, 0.5, (length, 2)).astype("f4"),
        terminated=terminated,
        state=state,
        columns={
            "environment_reward": normal(length),
            "success": rng.random(length) < 0.5,
            "intervention": rng.random(length) < 0.5,
            "pair": rng.integers(-9, 9, (length, 2)),
            "small": rng.integers(0, 9, length).astype(np.uint8),
            "one": normal(length, 1, dtype="f8"),
            "index": np.arange(length),  # a name of LeRobot's own
        },
    )


def episodes(camera: bool = False) -> list[Episode]:
    return [episode(*kind, seed=seed, camera=camera) for seed, kind in enumerate(LENGTHS)]


def assert_equal(found: Episode, expected: Episode) -> None:
    """Every column but video is the same bit for bit, in the same type."""
    assert found.terminated == expected.terminated
    pairs = {"observation": (found.observation, expected.observation)}
    pairs["action"] = (found.action, expected.action)
    for part in ("state", "columns"):
        ours, theirs = getattr(found, part), getattr(expected, part)
        assert set(ours) == set(theirs)
        pairs |= {f"{part}.{name}": (ours[name], theirs[name]) for name in theirs}
    for name, (here, there) in pairs.items():
        assert here.dtype == there.dtype, name
        np.testing.assert_array_equal(here, there, err_msg=name, strict=True)
