import threading
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


def test_threads_share_the_chunks_and_none_is_left(reward, make_transitions, monkeypatch):
    batch = make_transitions(1001)
    whole = reward.score(batch)
    before = threading.active_count()
    seen = set()
    run = module.ArrayMachine.run

    def noting(machine, *given):
        seen.add(threading.get_ident())
        run(machine, *given)

    monkeypatch.setattr(module, "CHUNK_ROWS", 10)
    monkeypatch.setattr(module, "free_cores", lambda: 3)
    monkeypatch.setattr(module.ArrayMachine, "run", noting)
    pieces = reward.score(batch)
    assert threading.get_ident() not in seen
    assert threading.active_count() == before
    np.testing.assert_array_equal(pieces.total, whole.total)
    for name, term in whole.terms.items():
        np.testing.assert_array_equal(pieces.terms[name], term)


def test_a_mistake_in_a_thread_is_the_caller_s(reward, make_transitions, monkeypatch):
    batch = make_transitions(100)
    monkeypatch.setattr(module, "CHUNK_ROWS", 10)
    monkeypatch.setattr(module, "free_cores", lambda: 3)
    with pytest.raises(UserError, match="do not have"):
        reward.score(replace(batch, next_state={}))
    before = threading.active_count()
    monkeypatch.setattr(module.ArrayMachine, "run", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        reward.score(batch)
    assert threading.active_count() == before


@pytest.mark.parametrize("rows", [0, 1, 9, 10, 11, 20, 25])
def test_every_row_is_computed_whatever_the_chunks(reward, make_transitions, monkeypatch, rows):
    batch = make_transitions(rows)
    whole = reward.score(batch)
    monkeypatch.setattr(module, "CHUNK_ROWS", 10)
    monkeypatch.setattr(module, "TENSOR_ROWS", 10)
    np.testing.assert_array_equal(reward.score(batch).total, whole.total)
    assert reward.score(as_tensors(batch)).total.shape == whole.total.shape == (rows,)


def test_wide_programs_get_small_chunks(fields, action):
    source = (
        "def reward(state, action, next_state):\n"
        "    x = np.sum(np.sum(action[:, :, None] * action[:, None, :], axis=-1), axis=-1)\n"
        '    return x, {"x": x}\n'
    )
    program = parse(source, fields, action)
    assert program.width >= 36
    assert CodeReward(program, {})._most_rows * program.width <= module.CHUNK_ELEMENTS


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


@pytest.mark.parametrize("dtype", ["U3", object, "datetime64[s]", complex])
def test_a_field_of_no_numbers_is_told(reward, make_transitions, dtype):
    batch = make_transitions(10)
    state = {**batch.state, "cube_position": np.zeros((10, 3)).astype(dtype)}
    with pytest.raises(UserError, match=r"state\.cube_position.*not as numbers"):
        reward.score(replace(batch, state=state))


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int32, np.uint8, bool])
def test_numbers_of_every_type_are_read(reward, make_transitions, dtype):
    batch = make_transitions(10)
    cube = (batch.state["cube_position"] * 10).astype(dtype)
    score = reward.score(replace(batch, state={**batch.state, "cube_position": cube}))
    same = replace(batch, state={**batch.state, "cube_position": cube.astype(np.float32)})
    np.testing.assert_array_equal(score.total, reward.score(same).total)


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
