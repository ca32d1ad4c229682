"""CartPole: its physics against two references, its episodes, and what its behaviours do."""

import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from embodied.errors import UserError
from sim.cartpole import physics
from sim.cartpole.environment import CartPoleEnv
from sim.cartpole.task import CartPoleTask

# States [5, 4] from which no stop is reached within a step.
FREE = hnp.arrays(
    np.float64,
    (5, 4),
    elements=st.floats(-1, 1, allow_subnormal=False),
).map(lambda unit: unit * (1.8, 3.0, 0.4, 3.0))
FORCES = hnp.arrays(np.float64, 5, elements=st.floats(-10, 10))


def make(num_envs=1, **options):
    return CartPoleEnv(CartPoleTask(), num_envs, **options)


def actions_for(steps, num_envs, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (steps, num_envs, 1)).astype(np.float32)


def play(env, actions):
    return [env.step(action) for action in actions]


def put(env, **values):
    """Change entries of the environment's state."""
    state = env.get_state()
    for name, value in values.items():
        state[name][:] = value
    env.set_state(state)


def same(left, right):
    """Assert that two steps or resets gave the same arrays, infos' states included."""
    for a, b in zip(left[:-1], right[:-1], strict=True):
        np.testing.assert_array_equal(a, b)
    for name, values in left[-1]["state"].items():
        np.testing.assert_array_equal(values, right[-1]["state"][name])
    np.testing.assert_array_equal(left[-1]["success"], right[-1]["success"])


# ---- physics -------------------------------------------------------------------------------------


def reference(state, force):
    """Solve Lagrange's two equations of a cart and a uniform rod for the accelerations."""
    cart, pole, half, gravity, dt = 1.0, 0.1, 0.5, 9.8, 0.02
    position, velocity, angle, turning = state
    coupling = pole * half * np.cos(angle)
    inertia = np.array([[cart + pole, coupling], [coupling, pole * (2 * half) ** 2 / 3]])
    forces = np.array(
        [force + pole * half * turning**2 * np.sin(angle), pole * gravity * half * np.sin(angle)]
    )
    linear, angular = np.linalg.solve(inertia, forces)
    return np.array(
        (
            position + dt * velocity,
            velocity + dt * linear,
            angle + dt * turning,
            turning + dt * angular,
        )
    )


@settings(max_examples=100, deadline=None)
@given(state=FREE, force=FORCES)
def test_a_step_solves_the_equations_of_motion(state, force):
    after = physics.step(state, force)
    assert after.dtype == np.float64
    for row in range(5):
        np.testing.assert_allclose(after[row], reference(state[row], force[row]), atol=1e-13)


@settings(max_examples=50, deadline=None)
@given(state=FREE, right=st.lists(st.booleans(), min_size=5, max_size=5))
def test_a_step_is_gymnasiums(state, right):
    after = physics.step(state, np.where(right, 10.0, -10.0))
    peer = gymnasium.make("CartPole-v1").unwrapped
    for row in range(5):
        peer.reset()
        peer.state = state[row]
        peer.step(int(right[row]))
        np.testing.assert_allclose(after[row], peer.state, rtol=1e-13, atol=1e-14)


def test_a_trajectory_is_gymnasiums_where_no_stop_acts():
    env, peer = make(1, seed=3), gymnasium.make("CartPole-v1").unwrapped
    observation, _ = env.reset()
    peer.reset()
    peer.state = env.get_state()["values"][0]
    for _ in range(60):
        right = int(observation[0, 2] + observation[0, 3] > 0)
        observation, _, terminated, _, info = env.step(np.full((1, 1), 2.0 * right - 1.0))
        fallen = peer.step(right)[2]
        ours = [values[0] for values in info["state"].values()]
        np.testing.assert_allclose(ours, peer.state, rtol=1e-9)
        assert not fallen
        assert not terminated.any()


@settings(max_examples=50, deadline=None)
@given(state=FREE, force=FORCES)
def test_stops_hold_position_and_angle_and_leave_the_velocities_to_the_equations(state, force):
    state = state * (1.06, 3, 1.3, 3)  # about half of them reach a stop
    after = physics.step(state, force)
    for row in range(5):
        expected = reference(state[row], force[row])
        expected[0] = np.clip(expected[0], -1.92, 1.92)
        expected[2] = np.clip(expected[2], -np.pi / 6, np.pi / 6)
        np.testing.assert_allclose(after[row], expected, atol=1e-12)


def test_a_pole_that_falls_stays_at_its_stop_and_ends_nothing():
    env = make(2, seed=0)
    env.reset()
    push = np.array([[1.0], [-1.0]])
    for _ in range(90):
        observation, _, terminated, truncated, info = env.step(push)
        assert (np.abs(observation) <= np.float32([1.92, np.inf, np.pi / 6, np.inf])).all()
        assert not (terminated | truncated).any()
    state = info["state"]
    np.testing.assert_array_equal(state["cart_position"], [1.92, -1.92])
    np.testing.assert_array_equal(state["pole_angle"], [-physics.MAX_ANGLE, physics.MAX_ANGLE])
    # What has pressed against a stop does not come off it at once.
    _, _, _, _, info = env.step(-push)
    np.testing.assert_array_equal(info["state"]["pole_angle"], state["pole_angle"])


# ---- episodes ------------------------------------------------------------------------------------


def test_an_episode_lasts_two_seconds_and_pays_for_the_state_a_step_leads_to():
    env = make(2, seed=1)
    env.reset()
    steps = play(env, actions_for(100, 2))
    assert not any(truncated.any() for _, _, _, truncated, _ in steps[:-1])
    observation, reward, terminated, truncated, info = steps[-1]
    assert truncated.all()
    assert not terminated.any()
    final = np.stack(list(info["final_obs"]))
    angle = info["final_info"]["state"]["pole_angle"]
    np.testing.assert_array_equal(final[:, 2], angle.astype(np.float32))
    np.testing.assert_allclose(reward, -np.abs(np.degrees(angle)))
    assert (np.abs(observation) <= 0.05).all()
    assert not info["success"].any()


def test_starts_are_uniform_and_new_in_every_environment_and_episode():
    env = make(4000, seed=5, max_steps=1)
    starts = [env.reset()[1]["state"], env.step(np.zeros((4000, 1)))[4]["state"]]
    values = np.concatenate([list(state.values()) for state in starts])
    assert np.abs(values).max() <= 0.05
    assert len(np.unique(values)) > 0.99 * values.size
    for quantile in (0.1, 0.25, 0.5, 0.75, 0.9):
        found = np.quantile(values, quantile, axis=1)
        np.testing.assert_allclose(found, -0.05 + 0.1 * quantile, atol=0.004)
    assert np.abs(np.corrcoef(values) - np.eye(8)).max() < 0.06


def test_a_row_depends_on_its_seed_and_actions_alone():
    many, one = make(7, seed=20, max_steps=6), make(max_steps=6)
    many.reset()
    one.reset(seed=23)
    for action in actions_for(15, 7):
        observation, reward, _, truncated, info = many.step(action)
        alone = one.step(action[3:4])
        np.testing.assert_array_equal(observation[3:4], alone[0])
        np.testing.assert_array_equal(reward[3:4], alone[1])
        np.testing.assert_array_equal(truncated[3:4], alone[3])
        for name, values in alone[4]["state"].items():
            np.testing.assert_array_equal(info["state"][name][3:4], values)


@settings(max_examples=20, deadline=None)
@given(before=st.integers(0, 12))
def test_a_restored_state_continues_bit_for_bit(before):
    env, other = make(3, seed=1, max_steps=5), make(3, seed=99, max_steps=5)
    env.reset()
    actions = actions_for(before + 12, 3)
    play(env, actions[:before])
    saved = env.get_state()
    kept = {name: values.copy() for name, values in saved.items()}
    first = play(env, actions[before:])
    for name, values in kept.items():
        np.testing.assert_array_equal(saved[name], values)
    other.set_state(saved)
    for left, right in zip(first, play(other, actions[before:]), strict=True):
        same(left, right)
    same(env.reset(), other.reset())


def test_environments_may_end_at_different_times():
    env = make(3, seed=2, max_steps=5)
    env.reset()
    put(env, elapsed=(0, 4, 2))
    _, _, _, truncated, info = env.step(np.zeros((3, 1)))
    np.testing.assert_array_equal(truncated, [False, True, False])
    assert info["final_obs"][0] is None
    assert info["final_obs"][1].shape == (4,)
    np.testing.assert_array_equal(env.get_state()["episode"], [1, 2, 1])
    _, _, _, truncated, info = env.step(np.zeros((3, 1)))
    assert not truncated.any()
    # The third ends after the second has begun anew, and goes on with its own next episode.
    observation, _, _, truncated, _ = env.step(np.zeros((3, 1)))
    np.testing.assert_array_equal(truncated, [False, False, True])
    together = make(3, seed=2)
    together.reset()
    second, _ = together.reset()
    np.testing.assert_array_equal(observation[2], second[2])


def test_success_is_a_second_within_twelve_degrees_and_is_lost_outside():
    env = make(4, seed=0)
    env.reset()
    degrees = np.radians([11.999, 12.001, -11.999, 0.0])
    told = []
    for step in range(60):
        angle = np.where(np.arange(4) == 3, np.radians(13) * (step == 30), degrees)
        put(env, values=np.stack([0 * angle, 0 * angle, angle, 0 * angle], axis=1))
        told.append(env.step(np.zeros((4, 1)))[4]["success"])
    told = np.array(told)
    for row in (0, 2):
        np.testing.assert_array_equal(told[:, row], np.arange(60) >= 49)
    assert not told[:, (1, 3)].any()


def test_without_a_seed_episodes_go_on():
    env = make(2, seed=8)
    first, _ = env.reset()
    second, _ = env.reset()
    assert not np.array_equal(first, second)
    again, _ = env.reset(seed=[8, None])
    np.testing.assert_array_equal(again[0], first[0])
    assert not np.array_equal(again[1], second[1])
    assert not np.array_equal(make(1).reset()[0], make(1).reset()[0])


def test_actions_are_clipped_and_bad_ones_change_nothing():
    env, other = make(2, seed=3), make(2, seed=3)
    env.reset()
    other.reset()
    same(env.step(np.full((2, 1), 5.0)), other.step(np.ones((2, 1))))
    before = env.get_state()
    with pytest.raises(UserError, match="NaN or infinite"):
        env.step(np.array([[0.0], [np.nan]]))
    for name, values in env.get_state().items():
        np.testing.assert_array_equal(values, before[name])


def test_mistakes_are_told():
    env = make(2)
    for early in (lambda: env.step(np.zeros((2, 1))), env.get_state):
        with pytest.raises(UserError, match="call reset before"):
            early()
    for seed, told in (([1, 2, 3], "3 seeds for 2"), (-1, "negative"), (2**63 - 1, "too large")):
        with pytest.raises(UserError, match=told):
            env.reset(seed=seed)
    with pytest.raises(UserError, match="no options"):
        env.reset(options={"speed": 2})
    for wrong in ({"num_envs": 0}, {"max_steps": 0}):
        with pytest.raises(UserError, match="at least 1"):
            make(**wrong)
    env.reset(seed=0)
    with pytest.raises(UserError, match="values has the shape"):
        make(3).set_state(env.get_state())
    with pytest.raises(UserError, match="width is 0"):
        env.render(0, width=0)
