"""The behaviour that learns while it acts: when it learns, from what, and the dataset it makes."""

import sys

import numpy as np
import pytest

from embodied.dataset import Dataset
from embodied.environments import EnvConfig
from embodied.errors import UserError
from embodied.stages.collect import CollectConfig, collect
from embodied.types import Field, LearningBehaviour, Transitions
from policies.replay_behaviour import BATCH_SIZE, SACReplayBehaviour
from sim.behaviours import RandomBehaviour

pytest.importorskip("stable_baselines3", reason="stable-baselines3 is not installed")

N, O = 3, 4  # noqa: E741


class Subject:
    action = Field((2,), "rad", "two joints", low=(-0.5, 2.0), high=(0.5, 4.0))


def make(seed=0, **options):
    return SACReplayBehaviour(Subject(), N, seed, learning_starts=6, threads=1, **options)


def drive(behaviour, steps, *, terminated=False, truncated=False):
    rng, actions = np.random.default_rng(0), []
    for _ in range(steps):
        x, after = rng.normal(size=(2, N, O)).astype(np.float32)
        actions.append(behaviour.act(x, {}, np.zeros(N, bool)))
        ends = np.full((2, N), [[terminated], [truncated]])
        reward = rng.normal(size=N)
        behaviour.observe(Transitions(x, actions[-1], after, *ends, reward=reward))
    return np.array(actions)


def test_it_learns_from_the_first_step_after_the_random_ones():
    behaviour = make(gradient_steps_per_step=2)
    assert isinstance(behaviour, LearningBehaviour)
    assert not isinstance(RandomBehaviour(Subject(), N, 0), LearningBehaviour)
    updates = []
    for _ in range(4):
        drive(behaviour, 1)
        updates.append(behaviour._model._n_updates)
    assert updates == [0, 0, 2 * N, 4 * N]
    assert BATCH_SIZE == 256


def test_it_acts_by_its_own_policy_after_the_random_steps():
    behaviour = make()
    actions = drive(behaviour, 2)
    expected = np.random.default_rng(0).uniform([-0.5, 2.0], [0.5, 4.0], (2, N, 2))
    np.testing.assert_allclose(actions, expected, rtol=1e-6)
    calls = []
    behaviour._model.predict = lambda x: calls.append(x) or (np.full((N, 2), [0.1, 9.0]), None)
    acted = behaviour.act(np.zeros((N, O), np.float32), {}, np.zeros(N, bool))
    assert len(calls) == 1
    np.testing.assert_allclose(acted, np.full((N, 2), [0.1, 4.0]), rtol=1e-6)
    assert acted.dtype == np.float32


@pytest.mark.parametrize("terminated", [False, True])
@pytest.mark.parametrize("truncated", [False, True])
def test_a_time_limit_is_told_apart_from_an_end(terminated, truncated):
    behaviour = make()
    actions = drive(behaviour, 1, terminated=terminated, truncated=truncated)
    buffer = behaviour._model.replay_buffer
    assert (buffer.dones[0] == (terminated or truncated)).all()
    assert (buffer.timeouts[0] == (truncated and not terminated)).all()
    unit = 2 * (actions[0] - [-0.5, 2.0]) / [1.0, 2.0] - 1
    np.testing.assert_allclose(buffer.actions[0], unit, atol=1e-6)


def test_a_seed_decides_every_action():
    first, again, other = (drive(make(seed), 5) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first[-1] != other[-1]).any()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"gradient_steps_per_step": 0}, "gradient_steps_per_step is 0"),
        ({"device": "gpu"}, "use cpu or cuda"),
        ({"device": "cuda:99x"}, "use cpu or cuda"),
    ],
)
def test_settings_that_cannot_work_are_told(options, match):
    with pytest.raises(UserError, match=match):
        make(**options)


def test_a_missing_library_is_told_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    with pytest.raises(UserError, match=r"embodied-stack\[sb3\]"):
        make()


def test_collecting_with_it_gives_a_dataset_that_follows_from_the_seed(tmp_path):
    def one(name, seed):
        options = {"name": "sac_replay", "learning_starts": 8, "threads": 1}
        env = EnvConfig("gymnasium", num_envs=2, max_steps=6, id="Pendulum-v1")
        collect(CollectConfig(env, options, str(tmp_path / name), episodes=4, seed=seed))
        return Dataset(tmp_path / name)

    first, again, other = one("a", 0), one("b", 0), one("c", 1)
    assert first.episode_lengths.tolist() == [6] * 4
    np.testing.assert_array_equal(first.column("action"), again.column("action"))
    assert not np.array_equal(first.column("action"), other.column("action"))
    assert (first.column("column.environment_reward") < 0).all()
    assert (np.abs(first.column("action")) <= 2.0).all()
