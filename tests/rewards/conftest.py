from dataclasses import dataclass, field

import numpy as np
import pytest

from embodied.types import Field, Transitions

FIELDS = {
    "joint_position": Field((6,), "rad", "Measured joint angles."),
    "tip_position": Field((3,), "m", "Position of the gripper tip.", "world"),
    "cube_position": Field((3,), "m", "Position of the cube's centre.", "world"),
    "target_position": Field((3,), "m", "Where the cube should rest.", "world"),
    "grasp_force": Field((), "N", "Force between the fingers.", low=(0.0,), high=(20.0,)),
}
ACTION = Field((6,), "rad", "Change of the joint targets.", low=(-0.15,) * 6, high=(0.15,) * 6)
GOOD = """\
def reward(state, action, next_state):
    \"\"\"Progress of the cube, and reaching for it.\"\"\"
    before = np.linalg.norm(state.cube_position - state.target_position, axis=-1)
    after = np.linalg.norm(next_state.cube_position - next_state["target_position"], axis=-1)
    reach = 1.0 - np.tanh(5.0 * np.linalg.norm(
        next_state.tip_position - next_state.cube_position, axis=-1))
    progress = 10.0 * (before - after)
    bonus = 1.0 if after < 0.03 else 0.0
    total = progress + 0.2 * reach + bonus
    total -= 0.01 * np.sum(action ** 2, axis=-1)
    return total, {"progress": progress, "reach": 0.2 * reach, "bonus": bonus}
"""


@dataclass
class PushLike:
    """What the rewards need of a task; its success test must never be called."""

    name: str = "push"
    instruction: str = "push the cube onto the target"
    control_hz: float = 10.0
    max_steps: int = 50
    behaviour: str = "scripted"
    fields: dict = field(default_factory=lambda: dict(FIELDS))
    action: Field = ACTION


def transitions(rows: int, seed: int = 0, dtype=np.float32) -> Transitions:
    rng = np.random.default_rng(seed)

    def draw() -> dict:
        return {
            name: rng.normal(scale=0.2, size=(rows, *entry.shape)).astype(dtype)
            for name, entry in FIELDS.items()
        }

    state, next_state = draw(), draw()
    distance = np.linalg.norm(next_state["cube_position"] - next_state["target_position"], axis=-1)
    return Transitions(
        observation=rng.normal(size=(rows, 4)).astype(np.float32),
        action=rng.uniform(-0.15, 0.15, size=(rows, 6)).astype(np.float32),
        next_observation=rng.normal(size=(rows, 4)).astype(np.float32),
        terminated=np.zeros(rows, dtype=bool),
        truncated=np.zeros(rows, dtype=bool),
        state=state,
        next_state=next_state,
        columns={"success": distance < 0.2},
    )


@pytest.fixture(autouse=True)
def _runs(tmp_path, monkeypatch):
    """The log of paid replies lies in the folder of the test."""
    monkeypatch.setenv("EMBODIED_RUNS", str(tmp_path / "runs"))


@pytest.fixture
def task() -> PushLike:
    return PushLike()


@pytest.fixture
def fields() -> dict:
    return dict(FIELDS)


@pytest.fixture
def action() -> Field:
    return ACTION


@pytest.fixture
def good() -> str:
    return GOOD


@pytest.fixture
def make_transitions():
    return transitions
