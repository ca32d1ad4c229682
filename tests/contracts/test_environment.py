"""What every environment gives, whoever wrote it: Gymnasium's vector interface with SAME_STEP.

To check another environment add one line to ``MAKERS``.
"""

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import sim
from embodied.errors import UserError
from embodied.stages.rewarded import RewardedEnv
from rewards.constant import ConstantReward
from sim import gymnasium_adapter


def maniskill(num_envs):
    pytest.importorskip("mani_skill", reason="ManiSkill is not installed")
    try:
        return sim.make("maniskill_push_cube", num_envs, max_steps=4, device="cpu")
    except UserError as error:  # no Vulkan device
        pytest.skip(str(error))


MAKERS = {
    "push": lambda n: sim.make("push", n, max_steps=4),
    "reach": lambda n: sim.make("reach", n, max_steps=4),
    "lift": lambda n: sim.make("lift", n, max_steps=4),
    "stack": lambda n: sim.make("stack", n, max_steps=4),
    "hopper_front_flip": lambda n: sim.make("hopper_front_flip", n, max_steps=4),
    "ant_wave_leg": lambda n: sim.make("ant_wave_leg", n, max_steps=4),
    "cartpole": lambda n: sim.make("cartpole", n, max_steps=4),
    "maniskill": maniskill,
    "rewarded": lambda n: RewardedEnv(sim.make("reach", n, max_steps=4), ConstantReward(1.0)),
    "gymnasium": lambda n: gymnasium_adapter.make("Pendulum-v1", n, max_episode_steps=4),
}


@pytest.fixture(params=MAKERS)
def make(request):
    made = []

    def maker(num_envs):
        made.append(MAKERS[request.param](num_envs))
        return made[-1]

    yield maker
    for env in made:
        env.close()


def play(env, steps, seed):
    """Return everything that happens under fixed random actions."""
    observation, info = env.reset(seed=seed)
    env.action_space.seed(7)
    story = [(observation.copy(), info)]
    for _ in range(steps):
        story.append(env.step(env.action_space.sample()))
    return story


def test_reset_and_step_have_the_declared_shapes(make):
    env = make(3)
    observation, _ = env.reset(seed=0)
    assert observation in env.observation_space
    assert observation.dtype == np.float32
    observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
    assert observation in env.observation_space
    assert reward.shape == terminated.shape == truncated.shape == (3,)
    assert terminated.dtype == truncated.dtype == np.bool_
    assert np.isfinite(reward).all()


def test_episodes_end_in_the_same_step_with_their_last_observation(make):
    env = make(2)
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    story = play(env, 4, seed=1)
    for observation, _, terminated, truncated, info in story[1:4]:
        assert not (terminated | truncated).any()
        assert "final_obs" not in info
        assert observation in env.observation_space
    observation, _, terminated, truncated, info = story[4]
    assert truncated.all()
    assert not terminated.any()
    assert info["_final_obs"].all()
    assert info["_final_info"].all()
    for index in range(2):
        final = info["final_obs"][index]
        assert final in env.single_observation_space
        assert not np.array_equal(final, observation[index])


def test_a_seed_decides_everything(make):
    first, second = play(make(2), 6, seed=5), play(make(2), 6, seed=5)
    other = play(make(2), 6, seed=6)
    for left, right in zip(first, second, strict=True):
        np.testing.assert_array_equal(left[0], right[0])
    for left, right in zip(first[1:], second[1:], strict=True):
        np.testing.assert_array_equal(left[1], right[1])
    assert not np.array_equal(first[0][0], other[0][0])


def test_seeds_count_up_over_the_environments(make):
    together, _ = make(3).reset(seed=11)
    for index in range(3):
        alone, _ = make(1).reset(seed=11 + index)
        np.testing.assert_array_equal(alone[0], together[index])


def test_returned_arrays_are_not_changed_later(make):
    env = make(2)
    story = play(env, 3, seed=2)
    copies = [np.array(entry[0]) for entry in story]
    env.step(env.action_space.sample())
    for entry, copy in zip(story, copies, strict=True):
        np.testing.assert_array_equal(entry[0], copy)
