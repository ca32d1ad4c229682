"""The arm's model holds the real arm's numbers, and its inverse kinematics inverts."""

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import so101

SCENES = [so101.ASSETS / f"so101_{name}.xml" for name in ("push", "reach", "lift", "stack")]
ARM = so101.Arm(SCENES[0])


@pytest.fixture(params=SCENES, ids=lambda path: path.stem, name="model")
def _model(request):
    return mujoco.MjModel.from_xml_path(str(request.param))


def test_joints_and_servos_are_the_arms(model):
    for index, name in enumerate(so101.JOINTS):
        joint = model.joint(name)
        assert joint.qposadr[0] == index
        np.testing.assert_array_equal(
            joint.range, (so101.JOINT_LOW[index], so101.JOINT_HIGH[index])
        )
        assert (joint.damping[0], joint.frictionloss[0], joint.armature[0]) == (0.6, 0.052, 0.028)
        servo = model.actuator(name)
        assert servo.trnid[0] == joint.id
        assert servo.gainprm[0] == -servo.biasprm[1] == 17.8
        assert servo.biasprm[2] == 0
        np.testing.assert_array_equal(servo.forcerange, (-3.35, 3.35))
        np.testing.assert_allclose(servo.ctrlrange, joint.range)


def test_physics_settings(model):
    assert model.opt.timestep == 0.005
    assert model.opt.integrator == mujoco.mjtIntegrator.mjINT_IMPLICITFAST


def test_at_zero_the_arm_stretches_forward():
    # From the arm's link table: the sum of the links' offsets.
    tip = ARM.tip_position(np.zeros((1, 6)))[0]
    np.testing.assert_allclose(tip, (0.3913345, 0.0, 0.22647), atol=1e-5)


def test_only_finger_jaw_cube_and_table_collide():
    model = ARM.model
    colliding = {
        frozenset((model.geom(a).name, model.geom(b).name))
        for a in range(model.ngeom)
        for b in range(a)
        if (model.geom_contype[a] & model.geom_conaffinity[b])
        | (model.geom_contype[b] & model.geom_conaffinity[a])
    }
    assert colliding == {
        frozenset(pair)
        for pair in (
            ("finger", "cube"),
            ("jaw", "cube"),
            ("cube", "table"),
            ("finger", "table"),
            ("jaw", "table"),
        )
    }
    cube = model.body("cube")
    assert cube.mass[0] == pytest.approx(0.030)
    assert model.geom("cube").friction[0] == 0.6
    np.testing.assert_array_equal(model.geom("cube").size, 0.015)


@settings(max_examples=200, deadline=None)
@given(radius=st.floats(0.12, 0.25), azimuth=st.floats(-0.8, 0.8), height=st.floats(0.005, 0.12))
def test_inverse_kinematics_inverts(radius, azimuth, height):
    x, y = (float(value) for value in so101.polar(radius, azimuth))
    joints = ARM.inverse.start((x, y, height))
    assert (joints >= so101.JOINT_LOW).all()
    assert (joints <= so101.JOINT_HIGH).all()
    np.testing.assert_allclose(ARM.tip_position(joints[None])[0], (x, y, height), atol=5e-4)


def test_the_table_is_solved_at_its_grid_points():
    assert ARM.inverse.error < 1e-9


def test_direction_fades_to_zero():
    vector = np.array([[3.0, 4.0, 0.0], [1e-4, 0.0, 0.0], [0.0, 0.0, 0.0]])
    length = so101.norm(vector)
    np.testing.assert_allclose(
        so101.direction(vector, length), [[0.6, 0.8, 0], [0.1, 0, 0], [0, 0, 0]]
    )
