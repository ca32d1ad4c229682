from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from hypothesis import given, settings
from hypothesis import strategies as st

from embodied.dataset import Dataset, Episode
from embodied.dataset_json import DatasetInfo
from embodied.dataset_writer import write_dataset
from embodied.episodes import concatenate, episode_return, episode_success, outcome_arrays
from embodied.errors import UserError
from embodied.rollout import rollout
from embodied.stages.collect import unrewarded
from embodied.types import Field


class Counting:
    """Episodes of known lengths whose observation tells (environment, episode, time).

    The reward of a step is the time after it. Like a real environment it hands out the same arrays
    again and again, and after an episode's end it returns the next episode's first observation,
    with the last one in ``final_obs``.
    """

    def __init__(self, lengths: list[list[int]], *, terminated=(), tells: str = "always") -> None:
        self.lengths, self.ends, self.tells = lengths, terminated, tells
        self.num_envs = len(lengths)
        self.observation = np.zeros((self.num_envs, 3), np.float32)
        self.reward = np.zeros(self.num_envs)
        self.actions: list[np.ndarray] = []

    def reset(self, seed=None):
        self.episode = np.zeros(self.num_envs, int)
        self.time = np.zeros(self.num_envs, int)
        return self._observe(), {"state": self._state()}

    def _observe(self):
        self.observation[:] = np.stack([np.arange(self.num_envs), self.episode, self.time], 1)
        return self.observation

    def _state(self):
        return {"clock": self.time[:, None].astype(float)}

    def step(self, action):
        self.actions.append(action)
        self.time += 1
        self.reward[:] = self.time
        length = np.array([self.lengths[i][e % 3] for i, e in enumerate(self.episode)])
        ended = self.time == length
        terminated = ended & np.isin(np.arange(self.num_envs), self.ends)
        success = ended & (self.episode % 2 == 0)
        info = {}
        if ended.any():
            final = np.full(self.num_envs, None, object)
            for i in np.flatnonzero(ended):
                final[i] = self._observe()[i].copy()
            info["final_obs"] = final
            info["final_info"] = {"state": self._state()}
            if self.tells != "never":
                info["final_info"]["success"] = success
        self.episode[ended] += 1
        self.time[ended] = 0
        if self.tells == "always":
            info["success"] = np.zeros(self.num_envs, bool)
        info["state"] = self._state()
        return self._observe(), self.reward, terminated, ended & ~terminated, info


def act(observation, state, start):
    np.testing.assert_array_equal(start, observation[:, 2] == 0)
    np.testing.assert_array_equal(state["clock"][:, 0], observation[:, 2])
    return observation[:, :2] * 100 + observation[:, 2:]


lengths = st.lists(st.lists(st.integers(1, 7), min_size=3, max_size=3), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(lengths=lengths, count=st.integers(1, 4), tells=st.sampled_from(["always", "end"]))
def test_every_environment_gives_as_many_whole_episodes(lengths, count, tells):
    env = Counting(lengths, terminated=[0], tells=tells)
    found = list(rollout(env, act, count))
    for index in range(env.num_envs):
        mine = [episode for which, episode in found if which == index]
        assert [len(item.action) for item in mine] == [lengths[index][e % 3] for e in range(count)]
        for number, episode in enumerate(mine):
            length = len(episode.action)
            # Also the last row, which only ``final_obs`` holds.
            expected = np.tile([index, number, 0], (length + 1, 1)) + np.outer(
                np.arange(length + 1), [0, 0, 1]
            )
            np.testing.assert_array_equal(episode.observation, expected)
            np.testing.assert_array_equal(episode.state["clock"][:, 0], np.arange(length + 1))
            np.testing.assert_array_equal(
                episode.action, expected[:-1, :2] * 100 + expected[:-1, 2:]
            )
            np.testing.assert_array_equal(episode.columns["reward"], np.arange(1, length + 1))
            assert episode.terminated == (index == 0)
            assert episode.columns["success"].tolist() == [False] * (length - 1) + [number % 2 == 0]
            assert episode_success(episode) == (number % 2 == 0)
            assert episode_return(episode) == length * (length + 1) / 2


def test_the_number_of_steps_is_that_of_the_slowest_environment():
    steps = []
    list(rollout(Counting([[1, 1, 1], [2, 3, 4]]), act, 2, on_step=steps.append))
    assert steps == list(range(5))


def test_actions_reach_the_environment_as_float32():
    env = Counting([[2, 2, 2]])
    list(rollout(env, lambda o, s, e: [[1.5, 2.0]], 1))
    assert [action.dtype for action in env.actions] == [np.float32] * 2


def test_without_a_success_flag_there_is_no_success():
    env = Counting([[2, 2, 2]], tells="never")
    ((_, episode),) = rollout(env, act, 1)
    assert "success" not in episode.columns
    assert episode_success(episode) is None
    assert outcome_arrays([episode])["success"] is None
    assert outcome_arrays([episode])["return"].tolist() == [3.0]


def test_episodes_joined_are_the_transitions_of_all():
    episodes = [item for _, item in rollout(Counting([[2, 3, 1]], terminated=[0]), act, 2)]
    batch = concatenate(episodes)
    assert len(batch) == 5
    np.testing.assert_array_equal(batch.observation[:, 2], [0, 1, 0, 1, 2])
    np.testing.assert_array_equal(batch.next_observation[:, 2], [1, 2, 1, 2, 3])
    np.testing.assert_array_equal(batch.next_state["clock"][:, 0], [1, 2, 1, 2, 3])
    np.testing.assert_array_equal(batch.terminated, [0, 1, 0, 0, 1])
    assert not batch.truncated.any()
    np.testing.assert_array_equal(batch.columns["success"], [0, 1, 0, 0, 0])


def make_gymnasium(name: str, count: int):
    mode = {"autoreset_mode": AutoresetMode.SAME_STEP}
    return gymnasium.make_vec(name, count, vectorization_mode="sync", vector_kwargs=mode)


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1"])
def test_gymnasium_environments_give_what_stepping_them_alone_gives(name):
    """Each sub-environment's episodes are those of the plain environment with its seed."""
    rng = np.random.default_rng(0)
    env = make_gymnasium(name, 3)
    discrete = hasattr(env.single_action_space, "n")
    plan = rng.integers(0, 2, (1000, 3)) if discrete else rng.uniform(-2, 2, (1000, 3, 1))
    counter = iter(range(1000))

    def replay(observation, state, start):
        return plan[next(counter)]

    # CartPole takes whole numbers.
    cast = int if discrete else np.float32
    step = env.step
    env.step = lambda action: step(action.astype(cast))
    found = list(rollout(env, replay, 2, seed=[5, 6, 7]))
    env.close()
    assert sorted(which for which, _ in found) == [0, 0, 1, 1, 2, 2]
    for index in range(3):
        alone, steps = gymnasium.make(name), iter(plan[:, index])
        observation, _ = alone.reset(seed=5 + index)
        for episode in [item for which, item in found if which == index]:
            for time in range(len(episode.action)):
                np.testing.assert_array_equal(episode.observation[time], observation)
                action = next(steps)
                observation, reward, terminated, truncated, _ = alone.step(
                    int(action) if discrete else action.astype(np.float32)
                )
                np.testing.assert_allclose(episode.columns["reward"][time], reward, rtol=1e-6)
                assert (terminated or truncated) == (time == len(episode.action) - 1)
            np.testing.assert_array_equal(episode.observation[-1], observation)
            assert episode.terminated == terminated
            observation, _ = alone.reset()
        alone.close()


def test_the_behaviours_return_is_the_environments_own_reward():
    success = np.array([False, False, True])
    reward = np.full(3, -10.0, np.float32)
    columns = {"success": success, "reward": reward}
    episode = Episode(
        np.zeros((4, 2), np.float32), np.zeros((3, 1), np.float32), False, {}, columns
    )
    assert unrewarded(episode, keep_own=True).columns["environment_reward"] is reward
    assert set(unrewarded(episode, keep_own=False).columns) == {"success"}
    reward[1] = np.nan
    with pytest.raises(UserError, match="non-finite reward"):
        unrewarded(episode, keep_own=True)


def test_episode_returns_prefer_the_environments_reward(tmp_path):
    info = DatasetInfo("x", Field((1,), "1", "push", low=(-1.0,), high=(1.0,)))
    with write_dataset(tmp_path / "data", info) as writer:
        for length in (3, 2):
            columns = {
                "success": np.ones(length, bool),
                "environment_reward": np.full(length, -2.0),
            }
            zeros = np.zeros((length + 1, 2)), np.zeros((length, 1))
            writer.add(Episode(*zeros, False, {}, columns))
    np.testing.assert_allclose(Dataset(tmp_path / "data").episode_returns(), [-6.0, -4.0])
