"""The gripper's pads against MuJoCo, and whether cubes are held by friction and nothing else."""

import mujoco
import numpy as np
import pytest

import sim
from sim import gripper, so101
from sim.behaviours import ScriptedBehaviour
from sim.tasks.lift import LiftTask
from sim.tasks.stack import StackTask

CLEAN = {"true_goal": 1.0, "wrong_goal": 0.0, "waypoints": 0.0, "random": 0.0, "noise": 0.0}
SCENES = [LiftTask.scene, StackTask.scene]


def test_pads_are_mujocos_sites():
    arm = so101.Arm(SCENES[0])
    data = mujoco.MjData(arm.model)
    joints = np.random.default_rng(0).uniform(-1, 1, (5, 6))
    state = gripper.Pads(arm).state(joints)
    for row in range(5):
        data.qpos[:6] = joints[row]
        mujoco.mj_kinematics(arm.model, data)
        finger, jaw = data.site("finger_pad").xpos, data.site("jaw_pad").xpos
        np.testing.assert_allclose(state["grasp_position"][row], (finger + jaw) / 2, atol=1e-12)
        assert state["gripper_opening"][row] == pytest.approx(np.linalg.norm(jaw - finger))


def test_the_documented_openings_are_right():
    joints = np.zeros((3, 6))
    joints[:, 5] = (0.0, 0.3, 0.6)
    opening = gripper.Pads(so101.Arm(SCENES[0])).state(joints)["gripper_opening"]
    np.testing.assert_allclose(opening, (0.006, gripper.CUBE_SIZE, 0.045), atol=1e-3)


@pytest.mark.parametrize("scene", SCENES, ids=lambda path: path.stem)
def test_nothing_but_contact_can_hold_a_cube(scene):
    model = mujoco.MjModel.from_xml_path(str(scene))
    assert model.neq == model.ntendon == model.nsensor == 0
    assert model.nu == len(so101.JOINTS)
    assert (model.body_gravcomp == 0).all()
    assert (model.geom_margin == 0).all()
    cubes = [i for i in range(model.ngeom) if "cube" in model.geom(i).name]
    for cube in cubes:
        np.testing.assert_array_equal(model.geom_size[cube], gripper.CUBE_SIZE / 2)
        assert model.body_mass[model.geom_bodyid[cube]] == pytest.approx(0.020)
        assert model.geom_friction[cube, 0] == 0.8
        fingers = [model.geom(name).id for name in ("finger", "jaw")]
        for other in (*fingers, model.geom("table").id, *set(cubes) - {cube}):
            assert (model.geom_contype[cube] & model.geom_conaffinity[other]) | (
                model.geom_contype[other] & model.geom_conaffinity[cube]
            )


def scripted(env, steps):
    """Return the environment's last info after some steps of the clean script, and the arm's."""
    observation, info = env.reset(seed=5)
    behaviour = ScriptedBehaviour(env.task, env.num_envs, 6, **CLEAN)
    start = np.ones(env.num_envs, bool)
    for _ in range(steps):
        action = behaviour.act(observation, info["state"], start)
        observation, _, _, start, info = env.step(action)
    return info


def touching(env, name):
    """Return, for every environment, the names of the geoms that a geom is in contact with."""
    model, data = env.model, mujoco.MjData(env.model)
    found = []
    for physics in env.get_state()["physics"]:
        data.qpos[:] = physics[1 : 1 + model.nq]
        mujoco.mj_forward(model, data)
        pairs = [{model.geom(geom).name for geom in contact.geom} for contact in data.contact]
        found.append(set().union(*(pair - {name} for pair in pairs if name in pair)))
    return found


def test_a_lifted_cube_touches_both_fingers_and_nothing_else():
    env = sim.make("lift", 8, max_steps=100)
    assert scripted(env, 45)["success"].all()
    assert touching(env, "cube") == [{"finger", "jaw"}] * 8
    env.close()


def test_a_stacked_cube_touches_the_base_cube_and_nothing_else():
    env = sim.make("stack", 8, max_steps=100)
    assert scripted(env, 50)["success"].all()
    assert touching(env, "cube") == [{"base_cube"}] * 8
    assert touching(env, "base_cube") == [{"cube", "table"}] * 8
    env.close()


def test_a_lifted_cube_falls_when_the_gripper_opens():
    env = sim.make("lift", 8, max_steps=100)
    info = scripted(env, 45)
    assert info["success"].all()
    # The cube is pressed in by less than 2 mm.
    assert (info["state"]["gripper_opening"] > gripper.CUBE_SIZE - 0.002).all()
    action = np.zeros((8, 6))
    action[:, 5] = so101.ACTION_LIMIT
    for _ in range(10):
        _, _, _, _, info = env.step(action)
    assert not info["success"].any()
    np.testing.assert_allclose(info["state"]["cube_position"][:, 2], gripper.CUBE_HEIGHT, atol=2e-3)
    env.close()


def test_a_slippery_cube_is_not_lifted():
    env = sim.make("lift", 8, max_steps=100)
    cube = env.model.geom("cube").id
    # Two fingers that press with 20 N hold 0.2 N of weight only above a friction of 0.005.
    env.model.geom_friction[cube, 0] = 0.001
    info = scripted(env, 45)
    assert not info["success"].any()
    assert (info["state"]["cube_position"][:, 2] < 0.05).all()
    env.close()


def test_a_held_cube_does_not_creep():
    env = sim.make("lift", 8, max_steps=200)
    state = scripted(env, 45)["state"]
    before = state["cube_position"] - state["grasp_position"]
    for _ in range(100):
        _, _, _, _, info = env.step(np.zeros((8, 6)))
    after = info["state"]["cube_position"] - info["state"]["grasp_position"]
    assert info["success"].all()
    assert np.linalg.norm(after - before, axis=1).max() < 1e-3
    env.close()
