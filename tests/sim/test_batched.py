"""The batched environment: exact against a plain MuJoCo loop, and alone in every row."""

import json

import mujoco
import numpy as np
import pytest
from gymnasium.wrappers.vector import DictInfoToList
from hypothesis import given, settings
from hypothesis import strategies as st

import sim
from embodied.errors import UserError
from embodied.types import Start
from sim.batched import BatchedMujocoEnv
from sim.tasks.push import PushTask


@pytest.fixture
def make():
    made = []

    def maker(*args, **kwargs):
        made.append(sim.make(*args, **kwargs))
        return made[-1]

    yield maker
    for env in made:
        env.close()


def actions_for(env, steps, seed=0):
    rng = np.random.default_rng(seed)
    shape = (steps, *env.action_space.shape)
    return rng.uniform(env.action_space.low, env.action_space.high, shape).astype(np.float32)


def play(env, actions):
    return [env.step(action) for action in actions]


@pytest.mark.parametrize("name", ["push", "reach"])
def test_physics_is_that_of_a_plain_loop(make, name):
    env = make(name, 3, seed=4, threads=2)
    env.reset()
    model, task = env.model, env.task
    data = [mujoco.MjData(model) for _ in range(3)]
    targets = np.zeros((3, 6))
    for index in range(3):
        data[index].qpos[:] = env.get_state()["physics"][index, 1 : 1 + model.nq]
        targets[index] = data[index].qpos[:6]
    for action in actions_for(env, 6):
        _, _, _, _, info = env.step(action)
        targets = task.next_target(targets, action.astype(np.float64))
        for index in range(3):
            data[index].ctrl[:] = targets[index]
            data[index].qacc_warmstart[:] = 0
            for _ in range(20):
                mujoco.mj_step(model, data[index])
            np.testing.assert_array_equal(
                info["state"]["joint_position"][index], data[index].qpos[:6]
            )
            mujoco.mj_forward(model, data[index])
            np.testing.assert_allclose(
                info["state"]["tip_position"][index],
                data[index].site("gripperframe").xpos,
                atol=1e-12,
            )
            if name == "push":
                np.testing.assert_array_equal(
                    info["state"]["cube_velocity"][index], data[index].qvel[6:9]
                )
        np.testing.assert_array_equal(info["state"]["joint_target"], targets)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_row_depends_neither_on_the_others_nor_on_threads(make, threads):
    many, one = make("push", 5, seed=20, threads=threads, max_steps=7), make("push", max_steps=7)
    many.reset()
    one.reset(seed=23)
    for action in actions_for(many, 16):
        observation, reward, _, truncated, info = many.step(action)
        alone = one.step(action[3:4])
        np.testing.assert_array_equal(observation[3:4], alone[0])
        np.testing.assert_array_equal(reward[3:4], alone[1])
        np.testing.assert_array_equal(truncated[3:4], alone[3])
        for name, value in alone[4]["state"].items():
            np.testing.assert_array_equal(info["state"][name][3:4], value)


@settings(max_examples=5, deadline=None)
@given(before=st.integers(0, 12), name=st.sampled_from(["push", "reach"]))
def test_a_restored_state_continues_bit_for_bit(before, name):
    env, other = (sim.make(name, 2, seed=1, max_steps=8) for _ in range(2))
    env.reset()
    other.reset(seed=99)
    actions = actions_for(env, before + 12)
    play(env, actions[:before])
    saved = env.get_state()
    saved["rng"] = json.loads(json.dumps(saved["rng"]))
    first = play(env, actions[before:])
    other.set_state(saved)
    for left, right in zip(first, play(other, actions[before:]), strict=True):
        for a, b in zip(left[:4], right[:4], strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(left[4]["success"], right[4]["success"])
    env.close()
    other.close()


def test_a_saved_state_is_not_changed_by_stepping(make):
    env = make("push", 2, seed=0)
    env.reset()
    saved = env.get_state()
    physics = saved["physics"].copy()
    play(env, actions_for(env, 3))
    np.testing.assert_array_equal(saved["physics"], physics)
    assert not np.array_equal(env.get_state()["physics"], physics)


def test_a_state_of_another_size_is_refused(make):
    state = make("push", 2, seed=0).get_state()
    with pytest.raises(UserError, match="physics has the shape"):
        make("push", 3).set_state(state)
    with pytest.raises(UserError, match="physics has the shape"):
        make("reach", 2).set_state(state)


class RestingTask(PushTask):
    """Push whose cube starts at a chosen distance from the target, out of the arm's way."""

    max_steps = 8

    def __init__(self, distance):
        self.distance = distance

    def start(self, rng):
        qpos = np.zeros(13)
        qpos[:6] = self.arm.inverse.start((0.20, -0.10, 0.05))
        qpos[6:] = (0.20, 0.10, 0.015, 1, 0, 0, 0)
        return Start(qpos=qpos, goal=np.array([0.20 + self.distance, 0.10, 0.015]))


@pytest.mark.parametrize(("distance", "expected"), [(0.029, True), (0.031, False)])
def test_success_comes_after_half_a_second_of_rest_within_3_cm(distance, expected):
    env = BatchedMujocoEnv(RestingTask(distance), 1)
    _, info = env.reset(seed=0)
    flags = [bool(info["success"][0])]
    for _ in range(7):
        _, reward, terminated, _, info = env.step(np.zeros((1, 6)))
        flags.append(bool(info["success"][0]))
        assert reward[0] == float(flags[-1])
        assert not terminated[0]
    # While it settles into contact, in the first control step, the cube is faster than 1 cm/s.
    assert flags == [False] * 6 + [expected] * 2
    env.close()


def test_a_shove_between_control_steps_breaks_the_rest():
    env = BatchedMujocoEnv(RestingTask(0.01), 1)
    env.reset(seed=0)
    for _ in range(6):
        _, reward, _, _, _ = env.step(np.zeros((1, 6)))
    assert reward[0] == 1.0
    # Friction stops 3 cm/s within two substeps: at the end of the control step the cube rests.
    state = env.get_state()
    state["physics"][0, 1 + 13 + 6] = 0.03
    env.set_state(state)
    _, reward, _, _, info = env.step(np.zeros((1, 6)))
    assert np.linalg.norm(info["state"]["cube_velocity"][0]) < 0.01
    assert np.linalg.norm(info["state"]["cube_position"] - info["state"]["target_position"]) < 0.03
    assert reward[0] == 0.0
    env.close()


def test_the_last_observation_and_its_state_belong_together(make):
    env = make("push", 3, seed=2, max_steps=5)
    env.reset()
    for action in actions_for(env, 5):
        observation, reward, _, truncated, info = env.step(action)
    assert truncated.all()
    final = info["final_info"]
    np.testing.assert_array_equal(
        env.task.observe(final["state"]), np.stack(list(info["final_obs"]))
    )
    np.testing.assert_array_equal(env.task.observe(info["state"]), observation)
    np.testing.assert_array_equal(reward, final["success"].astype(float))
    np.testing.assert_array_equal(info["state"]["joint_velocity"], 0)
    np.testing.assert_array_equal(info["state"]["joint_target"], info["state"]["joint_position"])


def test_environments_may_end_at_different_times(make):
    env = make("push", 3, seed=2, max_steps=5)
    env.reset()
    state = env.get_state()
    state["elapsed"][:] = (0, 4, 2)
    env.set_state(state)
    _, _, _, truncated, info = env.step(np.zeros((3, 6)))
    np.testing.assert_array_equal(truncated, [False, True, False])
    np.testing.assert_array_equal(info["_final_obs"], truncated)
    assert info["final_obs"][0] is None
    assert info["final_obs"][1].shape == (40,)
    assert info["final_info"]["state"]["tip_position"][0].tolist() == [0, 0, 0]
    _, _, _, truncated, info = env.step(np.zeros((3, 6)))
    assert not truncated.any()
    assert "final_obs" not in info


def test_infos_fit_gymnasiums_list_wrapper(make):
    env = DictInfoToList(make("push", 2, max_steps=2))
    _, infos = env.reset(seed=0)
    assert infos[1]["state"]["cube_position"].shape == (3,)
    env.step(np.zeros((2, 6)))
    _, _, _, _, infos = env.step(np.zeros((2, 6)))
    assert infos[0]["final_obs"].shape == (40,)
    assert not infos[0]["final_info"]["success"]


def test_actions_are_clipped_to_their_bounds(make):
    env, other = make("push", 2, seed=3), make("push", 2, seed=3)
    env.reset()
    other.reset()
    high, _, _, _, _ = env.step(np.full((2, 6), 5.0))
    limit, _, _, _, _ = other.step(other.action_space.high)
    np.testing.assert_array_equal(high, limit)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_actions_that_are_no_numbers_are_refused_and_change_nothing(make, value):
    env = make("push", 2, seed=3)
    env.reset()
    before = env.get_state()
    action = np.zeros((2, 6))
    action[1, 4] = value
    with pytest.raises(UserError, match="NaN or infinite"):
        env.step(action)
    np.testing.assert_array_equal(env.get_state()["joint_target"], before["joint_target"])
    np.testing.assert_array_equal(env.get_state()["physics"], before["physics"])


def test_mistakes_are_told(make):
    env = make("push", 2)
    with pytest.raises(UserError, match="reset before"):
        env.step(np.zeros((2, 6)))
    with pytest.raises(UserError, match="3 seeds for 2"):
        env.reset(seed=[1, 2, 3])
    with pytest.raises(UserError, match="negative"):
        env.reset(seed=-1)
    with pytest.raises(UserError, match="no options"):
        env.reset(options={"speed": 2})
    env.reset()
    with pytest.raises(UserError, match="shape"):
        env.step(np.zeros((3, 6)))
    for wrong in ({"num_envs": 0}, {"max_steps": 0}, {"threads": 0}):
        with pytest.raises(UserError, match="at least 1"):
            sim.make("push", **wrong)
    with pytest.raises(UserError, match=r"known: .*push, reach"):
        sim.make("fly")


def test_without_a_seed_episodes_go_on(make):
    env = make("push", 2, seed=8)
    first, _ = env.reset()
    second, _ = env.reset()
    assert not np.array_equal(first, second)
    again, _ = env.reset(seed=[8, None])
    np.testing.assert_array_equal(again[0], first[0])
    assert not np.array_equal(again[1], first[1])


def test_an_arm_that_is_left_alone_stays_where_it_is(make):
    env = make("push", 4, seed=0)
    _, info = env.reset()
    tip = info["state"]["tip_position"]
    for _ in range(20):
        _, _, _, _, info = env.step(np.zeros((4, 6)))
    sag = tip[:, 2] - info["state"]["tip_position"][:, 2]
    assert (sag > 0.001).all()
    assert (sag < 0.015).all()
    np.testing.assert_allclose(info["state"]["cube_velocity"], 0, atol=1e-3)


def test_closing_twice_is_safe():
    env = sim.make("push", 2)
    env.close()
    env.close()
