"""What every reward keeps to. To hold yours to it, add a line to ``REWARDS``."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from embodied.transforms import fit_scaling
from embodied.types import Field, Reward, Score, Transitions
from rewards.checks import select
from rewards.code_reward import CodeReward
from rewards.constant import ConstantReward
from rewards.dialect import parse
from rewards.ensemble import EnsembleReward
from rewards.success import SuccessReward

FIELDS = {
    "tip_position": Field((3,), "m", "Position of the gripper tip.", "world"),
    "goal_position": Field((3,), "m", "Position of the goal.", "world"),
}
ACTION = Field((6,), "rad", "Change of the joint targets.", low=(-0.15,) * 6, high=(0.15,) * 6)
SOURCE = """\
def reward(state, action, next_state):
    distance = np.linalg.norm(next_state.tip_position - next_state.goal_position, axis=-1)
    near = 1.0 if distance < 0.02 else 0.0
    effort = -0.01 * np.sum(action ** 2, axis=-1)
    return near - distance + effort, {"near": near, "distance": -distance, "effort": effort}
"""

OTHER_SOURCE = """\
def reward(state, action, next_state):
    height = next_state.tip_position[..., 2]
    return 40.0 * height, {"height": 40.0 * height}
"""


def code(source: str = SOURCE) -> CodeReward:
    return CodeReward(parse(source, FIELDS, ACTION), {"kind": "file"})


def ensemble() -> EnsembleReward:
    members = [code(), code(OTHER_SOURCE)]
    return EnsembleReward(
        members, fit_scaling([item.score(transitions(64)).total for item in members]), 1.0
    )


REWARDS = {
    "code": code,
    "ensemble": ensemble,
    "constant": lambda: ConstantReward(0.5),
    "success": SuccessReward,
}


def transitions(rows: int) -> Transitions:
    rng = np.random.default_rng(rows)

    def state():
        return {
            name: rng.normal(size=(rows, *field.shape)).astype(np.float32)
            for name, field in FIELDS.items()
        }

    return Transitions(
        observation=rng.normal(size=(rows, 5)).astype(np.float32),
        action=rng.uniform(-0.15, 0.15, size=(rows, 6)).astype(np.float32),
        next_observation=rng.normal(size=(rows, 5)).astype(np.float32),
        terminated=rng.random(rows) < 0.1,
        truncated=rng.random(rows) < 0.1,
        state=state(),
        next_state=state(),
        columns={"success": rng.random(rows) < 0.3},
    )


def tensors(batch: Transitions) -> Transitions:
    values = {}
    for name, value in vars(batch).items():
        if isinstance(value, dict):
            values[name] = {key: torch.as_tensor(column) for key, column in value.items()}
        else:
            values[name] = None if value is None else torch.as_tensor(value)
    return Transitions(**values)


@pytest.fixture(params=sorted(REWARDS))
def reward(request) -> Reward:
    return REWARDS[request.param]()


def everything(score: Score) -> dict:
    return {"total": score.total, **score.terms}


def test_it_is_a_reward(reward):
    assert isinstance(reward, Reward)


@pytest.mark.parametrize("rows", [1, 2, 7, 300])
def test_every_transition_gets_a_finite_float32(reward, rows):
    score = reward.score(transitions(rows))
    assert score.terms
    for values in everything(score).values():
        assert isinstance(values, np.ndarray)
        assert values.shape == (rows,)
        assert values.dtype == np.float32
        assert np.isfinite(values).all()


def test_it_is_deterministic(reward):
    batch = transitions(50)
    first, again = everything(reward.score(batch)), everything(reward.score(batch))
    assert first.keys() == again.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])


def test_a_transition_scores_the_same_wherever_it_stands(reward):
    batch = transitions(50)
    order = np.random.default_rng(0).permutation(50)
    whole = everything(reward.score(batch))
    shuffled = everything(reward.score(select(batch, order)))
    alone = everything(reward.score(select(batch, slice(3, 4))))
    for name in whole:
        np.testing.assert_allclose(shuffled[name], whole[name][order], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(alone[name], whole[name][3:4], rtol=1e-6, atol=1e-6)


def test_it_writes_to_nothing_it_is_given(reward):
    batch = transitions(20)
    for columns in (batch.state, batch.next_state, batch.columns):
        for column in columns.values():
            column.flags.writeable = False
    for name in ("observation", "action", "next_observation", "terminated", "truncated"):
        getattr(batch, name).flags.writeable = False
    reward.score(batch)


def test_tensors_give_tensors_with_the_same_values(reward):
    batch = transitions(40)
    expected = everything(reward.score(batch))
    for name, values in everything(reward.score(tensors(batch))).items():
        assert values.dtype == torch.float32
        np.testing.assert_allclose(values.numpy(), expected[name], rtol=1e-5, atol=1e-5)


def test_it_needs_no_reward_and_reads_none(reward):
    batch = transitions(20)
    labelled = replace(batch, reward=np.full(20, 99.0, dtype=np.float32))
    np.testing.assert_array_equal(reward.score(labelled).total, reward.score(batch).total)


def test_its_provenance_is_json_with_a_kind(reward):
    provenance = reward.provenance()
    assert json.loads(json.dumps(provenance, allow_nan=False)) == provenance
    assert isinstance(provenance["kind"], str)
    provenance["kind"] = "changed"
    assert reward.provenance()["kind"] != "changed"
