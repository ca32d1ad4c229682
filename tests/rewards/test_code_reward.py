from dataclasses import replace

import numpy as np
import pytest
import torch

import rewards.code_reward as module
from embodied.errors import UserError
from embodied.types import LazyColumns
from rewards.code_reward import CodeReward
from rewards.dialect import parse


@pytest.fixture
def reward(good, fields, action):
    return CodeReward(parse(good, fields, action), {"kind": "file"})


def as_tensors(batch):
    def convert(columns):
        return {name: torch.as_tensor(column) for name, column in columns.items()}

    return replace(
        batch,
        action=torch.as_tensor(batch.action),
        state=convert(batch.state),
        next_state=convert(batch.next_state),
    )


def test_the_formula_is_computed(reward, make_transitions):
    batch = make_transitions(50)
    before = np.linalg.norm(batch.state["cube_position"] - batch.state["target_position"], axis=-1)
    after = np.linalg.norm(
        batch.next_state["cube_position"] - batch.next_state["target_position"], axis=-1
    )
    reach = 1 - np.tanh(
        5
        * np.linalg.norm(
            batch.next_state["tip_position"] - batch.next_state["cube_position"], axis=-1
        )
    )
    bonus = (after < 0.03).astype(np.float32)
    expected = 10 * (before - after) + 0.2 * reach + bonus - 0.01 * np.sum(batch.action**2, axis=-1)
    score = reward.score(batch)
    np.testing.assert_allclose(score.total, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(score.terms["reach"], 0.2 * reach, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numpy_and_torch_agree_in_float32(reward, make_transitions, dtype):
    batch = make_transitions(100, dtype=dtype)
    score, tensors = reward.score(batch), reward.score(as_tensors(batch))
    assert score.total.dtype == np.float32
    assert tensors.total.dtype == torch.float32
    np.testing.assert_allclose(tensors.total.numpy(), score.total, rtol=1e-5, atol=1e-5)


def test_chunks_do_not_change_the_result(good, fields, action, make_transitions, monkeypatch):
    batch = make_transitions(1001)
    program = parse(good, fields, action)
    whole = CodeReward(program, {}).score(batch)
    monkeypatch.setattr(module, "CHUNK_ROWS", 100)
    pieces = CodeReward(program, {}).score(batch)
    np.testing.assert_array_equal(pieces.total, whole.total)
    np.testing.assert_array_equal(pieces.terms["bonus"], whole.terms["bonus"])


def test_wide_programs_get_small_chunks(fields, action):
    source = (
        "def reward(state, action, next_state):\n"
        "    x = np.sum(np.sum(action[:, :, None] * action[:, None, :], axis=-1), axis=-1)\n"
        '    return x, {"x": x}\n'
    )
    program = parse(source, fields, action)
    assert program.width >= 36
    assert CodeReward(program, {})._rows * program.width <= module.CHUNK_ELEMENTS


def test_only_the_used_fields_are_gathered(reward, make_transitions):
    batch = make_transitions(10)
    read: list[str] = []

    def lazy(columns):
        def reader(name):
            return lambda: read.append(name) or columns[name]

        return LazyColumns({name: reader(name) for name in columns})

    reward.score(replace(batch, state=lazy(batch.state), next_state=lazy(batch.next_state)))
    assert set(read) == set(reward.program.fields_used)
    assert "joint_position" not in read


def test_a_missing_field_is_told(reward, make_transitions):
    batch = make_transitions(10)
    state = {name: column for name, column in batch.state.items() if name != "cube_position"}
    with pytest.raises(UserError, match=r"state\.cube_position.*do not have"):
        reward.score(replace(batch, state=state))


def test_a_field_of_another_shape_is_told(reward, make_transitions):
    batch = make_transitions(10)
    state = {**batch.state, "cube_position": batch.state["cube_position"][:, :2]}
    with pytest.raises(UserError, match=r"\[N, 3\].*\[10, 2\]"):
        reward.score(replace(batch, state=state))


def test_what_is_not_finite_is_refused(reward, make_transitions):
    batch = make_transitions(10)
    cube = batch.next_state["cube_position"].copy()
    cube[3, 1] = np.nan
    with pytest.raises(UserError, match="in 1 of 10 transitions"):
        reward.score(replace(batch, next_state={**batch.next_state, "cube_position": cube}))


def test_results_share_no_memory_with_the_batch(fields, action, make_transitions):
    source = (
        "def reward(state, action, next_state):\n"
        '    return next_state.grasp_force, {"force": next_state.grasp_force}\n'
    )
    batch = make_transitions(10)
    score = CodeReward(parse(source, fields, action), {}).score(batch)
    for result in (score.total, score.terms["force"]):
        assert not np.shares_memory(result, batch.next_state["grasp_force"])
    assert not np.shares_memory(score.total, score.terms["force"])
