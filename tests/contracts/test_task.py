"""What every task gives: documented fields and pure functions of arrays.

To check another task add one line to ``TASKS``.
"""

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from embodied.types import Field, Task
from sim.tasks.push import PushTask
from sim.tasks.reach import ReachTask

TASKS = {"push": PushTask(), "reach": ReachTask()}


@pytest.fixture(params=TASKS, name="task")
def _task(request):
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


def test_it_is_a_task_with_a_sentence(task):
    assert isinstance(task, Task)
    assert len(task.instruction.split()) >= 3
    assert task.control_hz > 0
    assert task.max_steps > 0
    assert task.still_speed > 0


def test_the_scene_holds_what_the_task_names(task):
    model = mujoco.MjModel.from_xml_path(str(task.scene))
    for name in task.joints:
        assert model.joint(name).type == mujoco.mjtJoint.mjJNT_HINGE
    for name in task.objects:
        assert model.joint(model.body(name).jntadr[0]).type == mujoco.mjtJoint.mjJNT_FREE
    assert model.body("target").mocapid[0] >= 0
    substeps = 1 / (task.control_hz * model.opt.timestep)
    assert substeps == pytest.approx(round(substeps))


def test_fields_are_documented_and_do_not_tell_the_answer(task):
    for name, field in {**task.fields, "action": task.action}.items():
        assert isinstance(field, Field)
        assert len(field.meaning) > 20, name
        assert field.meaning.endswith("."), name
        assert field.unit, name
        assert (field.frame == "world") == (field.unit in ("m", "m/s")), name
    assert not any("success" in name for name in task.fields)


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
    moved = task.objects[0] + "_position" if task.objects else "tip_position"
    there = {**state, "target_position": state[moved].copy()}
    still, restless = np.full(4, 1000), np.zeros(4, dtype=int)
    assert task.success(there, still).all()
    assert not task.success(there, restless).any()
    far = {**state, "target_position": state[moved] + 1.0}
    assert not task.success(far, still).any()
    assert task.success(there, still).dtype == np.bool_


@settings(max_examples=50, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("name", TASKS)
def test_targets_never_leave_the_joint_ranges(name, data):
    task = TASKS[name]
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
