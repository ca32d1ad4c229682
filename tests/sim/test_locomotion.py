"""Locomotion robots: steps and starts are Gymnasium's, fields MuJoCo's, and states exact."""

import json

import gymnasium
import mujoco
import numpy as np
import pytest

import sim
from embodied.errors import UserError
from sim.locomotion import robots

ROBOTS = {
    "hopper_forward": ("Hopper-v5", {}),
    "walker2d_forward": ("Walker2d-v5", {}),
    "halfcheetah_forward": ("HalfCheetah-v5", {}),
    "ant_forward": ("Ant-v5", {"include_cfrc_ext_in_observation": False}),
}


@pytest.fixture(params=ROBOTS, name="name")
def _name(request):
    return request.param


@pytest.fixture
def make():
    made = []

    def maker(*args, **kwargs):
        made.append(sim.make(*args, **kwargs))
        return made[-1]

    yield maker
    for env in made:
        env.close()


@pytest.fixture
def peer(name):
    pytest.importorskip("imageio", reason="gymnasium's MuJoCo environments need it")
    identity, options = ROBOTS[name]
    env = gymnasium.make(identity, **options).unwrapped
    yield env
    env.close()


def actions_for(env, steps, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (steps, *env.action_space.shape)).astype(np.float32)


def place(peer, physics):
    """Put Gymnasium's environment into our state, its solver as cold as ours."""
    nq = peer.model.nq
    peer.set_state(physics[1 : 1 + nq], physics[1 + nq :])
    peer.data.qacc_warmstart[:] = 0


def test_a_step_is_that_of_gymnasium(make, name, peer):
    """Bit for bit from the same state; only the solver's warm start has to be taken away."""
    env = make(name, 2, seed=3, threads=2)
    env.reset()
    for action in actions_for(env, 40):
        before = env.get_state()["physics"]
        observation, _, terminated, _, info = env.step(action)
        for row in range(2):
            place(peer, before[row])
            expected = peer.step(action[row])[0]
            seen = info["final_obs"][row] if terminated[row] else observation[row]
            np.testing.assert_array_equal(seen, expected.astype(np.float32))


def test_a_trajectory_stays_near_gymnasiums(make, name, peer):
    """Its solver starts warm and ours cold, so that they agree to the solver's tolerance only.

    Contacts multiply the difference from step to step, hence few steps and a loose tolerance.
    """
    env = make(name, 1, seed=5, max_steps=100)
    env.reset()
    place(peer, env.get_state()["physics"][0])
    for action in 0.3 * actions_for(env, 12, seed=1):
        observation, _, terminated, _, _ = env.step(action)
        assert not terminated.any()
        np.testing.assert_allclose(observation[0], peer.step(action[0])[0], atol=1e-3)


def test_spaces_and_rates_are_gymnasiums(make, name, peer):
    env = make(name)
    assert env.single_observation_space.shape == peer.observation_space.shape
    np.testing.assert_array_equal(env.single_action_space.low, peer.action_space.low)
    np.testing.assert_array_equal(env.single_action_space.high, peer.action_space.high)
    assert env.task.control_hz == pytest.approx(1 / peer.dt)
    assert env.metadata["render_fps"] == round(1 / peer.dt)


def test_starts_spread_as_gymnasiums(make, name, peer):
    env = make(name, 400)
    ours = env.reset(seed=0)[0]
    theirs = np.stack([peer.reset(seed=i)[0] for i in range(400)])
    np.testing.assert_allclose(ours.mean(axis=0), theirs.mean(axis=0), atol=0.03)
    # Deviations of 400 numbers have a standard error of at most 4 % here.
    np.testing.assert_allclose(ours.std(axis=0), theirs.std(axis=0), rtol=0.2, atol=1e-6)


def test_fields_are_those_of_mujoco(make, name):
    env = make(name, 2, seed=1)
    env.reset()
    model, data = env.model, mujoco.MjData(env.model)
    for action in actions_for(env, 15, seed=2):
        env.step(action)
    physics = env.get_state()["physics"]
    state = env.task.robot.state(physics[:, 1 : 1 + model.nq], physics[:, 1 + model.nq :])
    torso = model.body("torso").id
    for row in range(2):
        data.qpos[:], data.qvel[:] = np.split(physics[row, 1:], [model.nq])
        mujoco.mj_forward(model, data)
        rotation = data.xmat[torso].reshape(3, 3)
        velocity = np.zeros(6)  # angular, linear, in the world's directions
        kind = mujoco.mjtObj.mjOBJ_XBODY
        mujoco.mj_objectVelocity(model, data, kind, torso, velocity, 0)
        expected = {
            "torso_position": data.xpos[torso],
            "torso_velocity": velocity[3:],
            "torso_forward": rotation[:, 0],
            "torso_angular_velocity": velocity[:3],
            "torso_pitch_velocity": velocity[1],
            "torso_up": rotation[2, 2],
            "joint_position": [data.joint(joint).qpos[0] for joint in env.task.robot.joints],
            "joint_velocity": [data.joint(joint).qvel[0] for joint in env.task.robot.joints],
            **{foot: data.site(foot).xpos for foot in env.task.robot.feet},
        }
        if "torso_pitch" in state:
            turned = [np.sin(state["torso_pitch"][row]), np.cos(state["torso_pitch"][row])]
            np.testing.assert_allclose(turned, [rotation[0, 2], rotation[2, 2]], atol=1e-12)
        for field in set(state) - {"torso_pitch"}:
            np.testing.assert_allclose(state[field][row], expected[field], atol=1e-9, err_msg=field)


@pytest.mark.parametrize("robot", [robots.hopper, robots.walker2d, robots.half_cheetah, robots.ant])
def test_a_foot_lies_in_its_geom(robot):
    model = robot().model
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    for foot, (geom, _, _) in robot().feet.items():
        radius, half = model.geom(geom).size[:2]
        middle, axis = data.geom(geom).xpos, data.geom(geom).xmat.reshape(3, 3)[:, 2]
        offset = data.site(foot).xpos - middle
        along = float(offset @ axis)
        assert abs(along) <= half + 1e-9
        np.testing.assert_allclose(offset, along * axis, atol=1e-9)
        assert radius > 0


def test_a_restored_state_continues_bit_for_bit(make):
    for name in ("hopper_front_flip", "ant_wave_leg"):
        env, other = (make(name, 3, seed=1, max_steps=15) for _ in range(2))
        env.reset()
        other.reset(seed=99)
        actions = actions_for(env, 30)
        for action in actions[:10]:
            env.step(action)
        saved = env.get_state()
        saved["rng"] = json.loads(json.dumps(saved["rng"]))
        first = [env.step(action) for action in actions[10:]]
        other.set_state(saved)
        for left, right in zip(first, [other.step(action) for action in actions[10:]], strict=True):
            for a, b in zip(left[:4], right[:4], strict=True):
                np.testing.assert_array_equal(a, b)
        for key, value in env.get_state().items():
            if key != "rng":
                np.testing.assert_array_equal(value, other.get_state()[key], err_msg=key)


def test_a_row_depends_neither_on_the_others_nor_on_threads(make):
    many, one = (make("ant_forward", n, threads=n, max_steps=9) for n in (3, 1))
    many.reset(seed=20)
    one.reset(seed=22)
    for action in actions_for(many, 20):
        left, right = many.step(action), one.step(action[2:])
        np.testing.assert_array_equal(left[0][2:], right[0])
        for field, value in right[4]["state"].items():
            np.testing.assert_array_equal(left[4]["state"][field][2:], value, err_msg=field)


def test_a_fall_ends_the_episode_of_its_row_alone(make):
    env = make("hopper_forward", 2)
    env.reset(seed=0)
    state = env.get_state()
    state["physics"][1, 2] = 0.6  # the torso's height
    env.set_state(state)
    observation, _, terminated, truncated, info = env.step(np.zeros((2, 3), np.float32))
    assert terminated.tolist() == [False, True]
    assert not truncated.any()
    assert info["final_info"]["state"]["torso_position"][1, 2] < 0.7
    assert info["state"]["torso_position"][1, 2] > 1.2
    assert env.get_state()["elapsed"].tolist() == [1, 0]
    assert not np.array_equal(info["final_obs"][1], observation[1])


def test_the_camera_follows(make):
    env = make("hopper_forward", 1)
    env.reset(seed=0)
    try:
        near = env.render(0, 64, 48)
    except UserError as error:
        pytest.skip(str(error))
    assert near.shape == (48, 64, 3)
    assert near.std() > 0
