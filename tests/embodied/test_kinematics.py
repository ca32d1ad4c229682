"""Forward kinematics on arrays agrees with MuJoCo's own."""

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodied.errors import UserError
from embodied.kinematics import Chain, rotation_from_quaternion

# Every joint type, anchors off the body's origin, skew axes, several joints in one body, bodies
# without joints, non-zero references and unnormalised quaternions.
TREE = """
<mujoco>
  <compiler angle="radian"/>
  <worldbody>
    <body name="fixed" pos=".1 -.2 .3" quat="1 2 -1 .5">
      <body name="slider" pos="0 .1 0" quat=".3 -.2 1 1">
        <joint name="slide" type="slide" axis="1 2 3" ref=".2"/>
        <joint name="hinge" axis="0 1 -1" pos=".05 -.02 .01" ref="-.4"/>
        <geom size=".1"/>
        <body name="bracket" pos=".2 0 0" quat="0 1 1 0">
          <body name="arm" pos="0 0 .3" quat="2 0 .1 0">
            
            <joint name="twist" type="slide" axis="0 0 1"/>
            <joint name="ball" type="ball" pos="0 .03 .02"/>
            <geom size=".1"/>
            <site name="tip" pos=".1 .2 .3" quat="1 .5 0 -1"/>
          </body>
        </body>
      </body>
    </body>
    <body name="free" pos="1 1 1"><freejoint name="loose"/><geom size=".1"/>
      <body name="spinner" pos=".1 0 0"><joint name="spin" axis="1 0 1" pos="0 .1 0"/>
        <geom size=".1"/></body>
    </body>
    <body name="marker" mocap="true"/>
  </worldbody>
</mujoco>
"""
MODEL = mujoco.MjModel.from_xml_string(TREE)


def _random_state(seed: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(0, 2, (rows, MODEL.nq)), rng.normal(0, 2, (rows, MODEL.nv))


def _body_pose(data: mujoco.MjData, name: str) -> tuple[np.ndarray, np.ndarray]:
    return data.body(name).xpos, data.body(name).xmat.reshape(3, 3)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_poses_match_mujoco_on_random_trees(seed):
    qpos, _ = _random_state(seed, 3)
    data = mujoco.MjData(MODEL)
    for name in ("fixed", "slider", "arm", "free", "spinner"):
        position, rotation = Chain(MODEL, body=name).pose(qpos)
        for row in range(len(qpos)):
            data.qpos[:] = qpos[row]
            mujoco.mj_forward(MODEL, data)
            expected = _body_pose(data, name)
            np.testing.assert_allclose(position[row], expected[0], rtol=0, atol=1e-12)
            np.testing.assert_allclose(rotation[row], expected[1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_site_position_and_velocity_match_mujoco(seed):
    qpos, qvel = _random_state(seed, 4)
    chain = Chain(MODEL, site="tip")
    position, velocity = chain.position(qpos), chain.velocity(qpos, qvel)
    data = mujoco.MjData(MODEL)
    for row in range(4):
        data.qpos[:], data.qvel[:] = qpos[row], qvel[row]
        mujoco.mj_forward(MODEL, data)
        jacobian = np.zeros((3, MODEL.nv))
        mujoco.mj_jacSite(MODEL, data, jacobian, None, MODEL.site("tip").id)
        np.testing.assert_allclose(position[row], data.site("tip").xpos, rtol=0, atol=1e-12)
        np.testing.assert_allclose(velocity[row], jacobian @ qvel[row], rtol=0, atol=1e-11)
        np.testing.assert_array_equal(position[row], chain.pose(qpos)[0][row])


def test_free_body_velocity_matches_mujoco():
    qpos, qvel = _random_state(9, 3)
    velocity = Chain(MODEL, body="spinner").velocity(qpos, qvel)
    data = mujoco.MjData(MODEL)
    for row in range(3):
        data.qpos[:], data.qvel[:] = qpos[row], qvel[row]
        mujoco.mj_forward(MODEL, data)
        jacobian = np.zeros((3, MODEL.nv))
        mujoco.mj_jacBody(MODEL, data, jacobian, None, MODEL.body("spinner").id)
        np.testing.assert_allclose(velocity[row], jacobian @ qvel[row], rtol=0, atol=1e-11)


def test_a_row_does_not_depend_on_the_other_rows():
    qpos, qvel = _random_state(3, 37)
    chain = Chain(MODEL, site="tip")
    for row in (0, 17, 36):
        one = slice(row, row + 1)
        np.testing.assert_array_equal(chain.position(qpos)[one], chain.position(qpos[one]))
        np.testing.assert_array_equal(
            chain.velocity(qpos, qvel)[one], chain.velocity(qpos[one], qvel[one])
        )


def test_chain_holds_only_the_joints_on_the_way():
    assert Chain(MODEL, site="tip").joints == ("slide", "hinge", "twist", "ball")
    assert Chain(MODEL, body="free").joints == ("loose",)
    assert Chain(MODEL, body="fixed").joints == ()


def test_rotation_is_a_rotation():
    rotation = rotation_from_quaternion(np.random.default_rng(0).normal(size=(20, 4)))
    np.testing.assert_allclose(
        rotation @ rotation.swapaxes(1, 2), np.broadcast_to(np.eye(3), (20, 3, 3)), atol=1e-14
    )
    np.testing.assert_allclose(np.linalg.det(rotation), 1, atol=1e-14)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({"body": "nobody"}, "no body"),
        ({"site": "nothing"}, "no site"),
        ({"body": "marker"}, "mocap"),
    ],
)
def test_impossible_chains_are_refused(names, words):
    with pytest.raises(UserError, match=words):
        Chain(MODEL, **names)
