"""What every task gives: a sentence and documented fields; one for robots, pure functions too.

To check another task add one line to ``ROBOT_TASKS`` and to ``FINISHED``, or to ``OTHER_TASKS``.
"""

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import sim
from embodied.registry import names, resolve
from embodied.types import Field, RobotTask, Task
from sim.cartpole.task import CartPoleTask
from sim.locomotion import tasks as locomotion
from sim.tasks.lift import LiftTask
from sim.tasks.push import PushTask
from sim.tasks.reach import ReachTask
from sim.tasks.stack import StackTask

ROBOT_TASKS = {
    "push": PushTask(),
    "reach": ReachTask(),
    "lift": LiftTask(),
    "stack": StackTask(),
}


def stacked(state):
    """Put the base cube on the table below the gripper, and the cube on it."""
    grasp = state["grasp_position"]
    cube, base, gripper = (
        np.concatenate((grasp[:, :2], np.full((len(grasp), 1), height)), axis=1)
        for height in (0.0375, 0.0125, 0.1)
    )
    opening = np.full(len(grasp), 0.05)
    return {
        "cube_position": cube,
        "base_cube_position": base,
        "grasp_position": gripper,
        "gripper_opening": opening,
    }


# The fields of a state that make it a finished one; the first of them then spoils it by 1 m.
FINISHED = {
    "push": lambda state: {"cube_position": state["target_position"]},
    "reach": lambda state: {"tip_position": state["target_position"]},
    "lift": lambda state: {"cube_position": state["grasp_position"]},
    "stack": stacked,
}
OTHER_TASKS = {
    name: getattr(locomotion, name)()
    for name in (
        *("hopper_forward", "hopper_front_flip", "hopper_back_flip", "halfcheetah_forward"),
        *("walker2d_forward", "ant_forward", "ant_lie_down", "ant_wave_leg"),
    )
}
OTHER_TASKS["cartpole"] = CartPoleTask()
TASKS = {**ROBOT_TASKS, **OTHER_TASKS}


@pytest.fixture(params=ROBOT_TASKS, name="task")
def _task(request):
    return ROBOT_TASKS[request.param]


@pytest.fixture(params=TASKS, name="any_task")
def _any_task(request):
    return TASKS[request.param]


def measure(task, rows, seed=0):
    """Return something that could have been measured."""
    rng = np.random.default_rng(seed)
    joints = len(task.joints)
    measured = {
        "joint_position": rng.uniform(-1, 1, (rows, joints)),
        "joint_velocity": rng.normal(0, 1, (rows, joints)),
        "joint_target": rng.uniform(-1, 1, (rows, joints)),
        "goal": rng.uniform(0, 0.3, (rows, 3)),
    }
    for name in task.objects:
        measured[f"{name}_position"] = rng.uniform(0, 0.3, (rows, 3))
        measured[f"{name}_velocity"] = rng.normal(0, 0.1, (rows, 3))
    return measured


def test_it_is_a_task_with_a_sentence(any_task):
    assert isinstance(any_task, Task)
    assert any_task.name in TASKS
    assert len(any_task.instruction.split()) >= 2
    assert any_task.control_hz > 0
    assert any_task.max_steps > 0
    assert any_task.behaviour in names("behaviour")


def test_a_task_says_what_success_is(any_task):
    assert "Success: " in (resolve("task", any_task.name).__doc__ or "")


def test_those_for_robots_can_be_told_apart():
    assert all(isinstance(task, RobotTask) for task in ROBOT_TASKS.values())
    assert not any(isinstance(task, RobotTask) for task in OTHER_TASKS.values())


def test_speed_has_a_limit(task):
    assert task.still_speed > 0


def test_the_environment_tells_the_documented_fields_and_success(any_task):
    env = sim.make(any_task.name, 2)
    _, info = env.reset(seed=0)
    assert list(info["state"]) == list(any_task.fields)
    for name, field in any_task.fields.items():
        assert info["state"][name].shape == (2, *field.shape), name
        assert info["state"][name].dtype == np.float64, name
    assert info["success"].shape == (2,)
    assert info["success"].dtype == np.bool_
    low, high = (
        np.array(bound, np.float32) for bound in (any_task.action.low, any_task.action.high)
    )
    np.testing.assert_array_equal(env.single_action_space.low, low)
    np.testing.assert_array_equal(env.single_action_space.high, high)
    env.close()


def test_the_scene_holds_what_the_task_names(task):
    model = mujoco.MjModel.from_xml_path(str(task.scene))
    for name in task.joints:
        assert model.joint(name).type == mujoco.mjtJoint.mjJNT_HINGE
    for name in task.objects:
        assert model.joint(model.body(name).jntadr[0]).type == mujoco.mjtJoint.mjJNT_FREE
    assert model.body("target").mocapid[0] >= 0
    substeps = 1 / (task.control_hz * model.opt.timestep)
    assert substeps == pytest.approx(round(substeps))


def test_fields_are_documented_and_do_not_tell_the_answer(any_task):
    for name, field in {**any_task.fields, "action": any_task.action}.items():
        assert isinstance(field, Field)
        assert len(field.meaning) > 20, name
        assert field.meaning.endswith("."), name
        assert field.unit, name
        # A distance or a height is a number, and lies in no frame.
        assert field.frame == "world" or field.unit not in ("m", "m/s") or not field.shape, name
    assert not any("success" in name for name in any_task.fields)


def test_state_gives_every_field_in_its_shape(task):
    state = task.state(measure(task, 5))
    assert list(state) == list(task.fields)
    for name, field in task.fields.items():
        assert state[name].shape == (5, *field.shape), name
        assert state[name].dtype == np.float64, name


def test_observation_is_finite_and_row_by_row(task):
    measured = measure(task, 7)
    whole = task.observe(task.state(measured))
    assert whole.dtype == np.float32
    assert whole.ndim == 2
    assert np.isfinite(whole).all()
    for row in range(7):
        alone = task.state({name: value[row : row + 1] for name, value in measured.items()})
        np.testing.assert_array_equal(task.observe(alone)[0], whole[row])


def test_observation_stays_finite_where_things_coincide(task):
    state = {name: np.zeros((2, *field.shape)) for name, field in task.fields.items()}
    assert np.isfinite(task.observe(state)).all()


def test_starts_follow_from_the_generator(task):
    model = mujoco.MjModel.from_xml_path(str(task.scene))
    first, second = (task.start(np.random.default_rng(3)) for _ in range(2))
    assert first.qpos.shape == (model.nq,)
    assert first.goal.shape == (3,)
    np.testing.assert_array_equal(first.qpos, second.qpos)
    np.testing.assert_array_equal(first.goal, second.goal)
    assert not np.array_equal(first.goal, task.start(np.random.default_rng(4)).goal)


def test_speed_is_one_number_per_row(task):
    speed = task.speed(measure(task, 6))
    assert speed.shape == (6,)
    assert (speed >= 0).all()
    still = {name: np.zeros_like(value) for name, value in measure(task, 6).items()}
    np.testing.assert_array_equal(task.speed(still), 0)


def test_success_needs_stillness_and_nearness(task):
    state = task.state(measure(task, 4))
    finished = FINISHED[task.name](state)
    there = {**state, **finished}
    still, restless = np.full(4, 1000), np.zeros(4, dtype=int)
    assert task.success(there, still).all()
    assert not task.success(there, restless).any()
    moved = next(iter(finished))
    far = {**there, moved: there[moved] + 1.0}
    assert not task.success(far, still).any()
    assert task.success(there, still).dtype == np.bool_


@settings(max_examples=50, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("name", ROBOT_TASKS)
def test_targets_never_leave_the_joint_ranges(name, data):
    task = ROBOT_TASKS[name]
    model = mujoco.MjModel.from_xml_path(str(task.scene))
    low, high = np.array([model.joint(joint).range for joint in task.joints]).T
    numbers = hnp.arrays(np.float64, (3, len(low)), elements=st.floats(-1e6, 1e6))
    target = task.next_target(data.draw(numbers), data.draw(numbers))
    assert (target >= low).all()
    assert (target <= high).all()


def test_an_action_is_added_to_the_last_target(task):
    target = np.zeros((2, len(task.joints)))
    action = np.full_like(target, 0.01)
    np.testing.assert_allclose(task.next_target(target, action), 0.01)
    assert np.all(np.array(task.action.low) < 0)
    assert np.all(np.array(task.action.high) > 0)
