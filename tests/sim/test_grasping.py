"""Scripted grasps, step by step against known answers, and the arm's sag."""

import mujoco
import numpy as np
import pytest

from sim import grasping, motions, so101
from sim.grasping import Grasp
from sim.gripper import CUBE_SIZE
from sim.tasks.lift import LiftTask

CUBE = np.array([[0.2, 0.0, 0.0125]])
STAND = np.array([[0.2 - CUBE_SIZE / 2 - grasping.SIDE_GAP, 0.0, grasping.GRASP_HEIGHT]])


def grasp(tip, cube=CUBE, opening=0.045, around=False, gripped=False):
    return Grasp(
        tip=np.array([tip]),
        cube=np.array(cube).reshape(1, 3),
        outwards=np.array([[1.0, 0.0]]),
        opening=np.array([opening]),
        around=np.array([around]),
        gripped=np.array([gripped]),
    )


def raised(height):
    """Return the standing place, this much higher."""
    return STAND + np.array([0.0, 0.0, height])


def test_what_is_perceived():
    state = {
        "cube_position": np.array([[0.2, 0.0, 0.0125], [0.2, 0.0, 0.0125]]),
        "grasp_position": np.array([[0.205, 0.0, 0.0125], [0.205, 0.0, 0.0125]]),
        "gripper_opening": np.array([0.0251, 0.045]),
    }
    offset = np.array([[0.0, 0.0], [0.0, 0.04]])
    seen = grasping.perceive(state, np.zeros((2, 3)), offset)
    np.testing.assert_array_equal(seen.around, [True, False])
    np.testing.assert_array_equal(seen.gripped, [True, False])
    np.testing.assert_allclose(seen.cube[1], (0.2, 0.04, 0.0125))
    np.testing.assert_allclose(seen.outwards[0], (1.0, 0.0))
    np.testing.assert_allclose(so101.norm(seen.outwards), 1.0)


def test_from_afar_it_goes_above_the_cube_with_the_gripper_open():
    hand = grasping.pick(grasp([0.15, 0.1, 0.06], opening=0.006))
    np.testing.assert_allclose(hand.tip, raised(grasping.HOVER))
    assert hand.gripper == grasping.OPEN
    assert not hand.calm


def test_above_the_cube_it_goes_down_when_the_gripper_is_open():
    above = STAND[0] + [0.001, 0.0, 0.04]
    np.testing.assert_allclose(grasping.pick(grasp(above)).tip, STAND)
    closed = grasping.pick(grasp(above, opening=0.020))
    assert closed.tip[0, 2] > 0.04


@pytest.mark.parametrize(("off", "height"), [(0.006, 0.027), (0.010, 0.039), (0.05, 0.045)])
def test_the_way_down_is_a_cone(off, height):
    hand = grasping.pick(grasp(STAND[0] + [0.0, off, 0.04]))
    np.testing.assert_allclose(hand.tip, raised(height), atol=1e-9)


def test_low_beside_the_cube_it_goes_straight_up_first():
    tip = STAND[0] + [0.0, 0.03, 0.005]
    hand = grasping.pick(grasp(tip))
    np.testing.assert_allclose(hand.tip[0, :2], tip[:2])
    assert hand.tip[0, 2] > tip[2] + 0.03


def test_around_the_cube_it_closes():
    hand = grasping.pick(grasp(STAND[0], around=True))
    assert hand.gripper == grasping.SQUEEZE
    np.testing.assert_allclose(hand.tip[0, 0], 0.2 - CUBE_SIZE / 2)


def test_a_gripped_cube_is_raised_by_what_is_missing():
    hand = grasping.lift(grasp(STAND[0], gripped=True), np.array([0.0825]))
    np.testing.assert_allclose(hand.tip, raised(0.07))
    assert hand.gripper == grasping.SQUEEZE
    assert not hand.calm
    high = grasp(STAND[0], [0.2, 0.0, 0.08], gripped=True)
    assert grasping.lift(high, np.array([0.0825])).calm


GOAL = np.array([[0.2, 0.1, 0.0375]])


@pytest.mark.parametrize(
    ("cube", "way"),
    [
        ((0.2, 0.0, 0.0125), (0.0, 0.0, grasping.CARRY - 0.0125)),  # straight up
        ((0.2, 0.0, 0.060), (0.0, 0.1, grasping.CARRY - 0.060)),  # level
        ((0.2, 0.097, 0.060), (0.0, 0.003, -0.0225)),  # down
    ],
)
def test_a_gripped_cube_is_carried(cube, way):
    hand = grasping.place(grasp(STAND[0], cube, opening=0.025, gripped=True), GOAL)
    np.testing.assert_allclose(hand.tip, STAND + way, atol=1e-9)
    assert hand.gripper == grasping.SQUEEZE


def test_a_cube_in_its_place_is_let_go_and_then_left():
    there, tip = (0.2, 0.1, 0.0385), [0.18, 0.1, 0.03]
    hand = grasping.place(grasp(tip, there, opening=0.025, gripped=True), GOAL)
    np.testing.assert_allclose(hand.tip, [tip])
    assert hand.gripper == grasping.OPEN
    hand = grasping.place(grasp(tip, there, opening=0.045), GOAL)
    assert hand.tip[0, 2] == pytest.approx(0.0385 + grasping.RETREAT)
    # The finger goes up beside the cube, not along it.
    assert hand.tip[0, 0] == pytest.approx(0.2 - CUBE_SIZE / 2 - grasping.SIDE_GAP)
    assert hand.gripper == grasping.OPEN


@pytest.mark.parametrize("radius", [0.13, 0.22])
@pytest.mark.parametrize("height", [0.006, 0.06])
def test_the_soft_arm_comes_to_within_2_mm_of_where_it_is_wanted(radius, height):
    arm = so101.Arm(LiftTask.scene)
    data = mujoco.MjData(arm.model)
    wanted = np.array([[so101.PAN_AXIS[0] + radius, 0.0, height]])
    target = arm.inverse.start((float(wanted[0, 0]), 0.0, height + 0.02))[None]
    data.qpos[:6] = target[0]
    for _ in range(20):
        commanded, tip = (arm.tip_position(q[None, :6]) for q in (target[0], data.qpos))
        point = motions.step_towards(commanded, motions.against_sag(wanted, commanded, tip))
        target = target + motions.joint_change(arm, target, point)
        data.ctrl[:] = target[0]
        mujoco.mj_step(arm.model, data, 20)
    assert so101.norm(arm.tip_position(data.qpos[None, :6]) - wanted)[0] < 0.002


def test_the_gripper_goes_as_fast_as_it_can_beside_the_arm():
    arm = so101.Arm(LiftTask.scene)
    target = arm.inverse.start((0.2, 0.0, 0.05))[None]
    point = arm.tip_position(target)
    point[:, 1] += 0.002
    both = motions.joint_change(arm, target, point, np.array([0.6]))
    alone = motions.joint_change(arm, target, point)
    np.testing.assert_array_equal(both[:, :5], alone[:, :5])
    assert both[0, 5] == so101.ACTION_LIMIT
