"""Offline data on the device, against plain NumPy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embodied.engine.data import ACTION_MARGIN, IndexDraw, Normaliser, OfflineData, standardise


def identity(observation_size=5, action_size=2):
    numbers = (np.zeros(observation_size), np.ones(observation_size))
    bounds = (-np.ones(action_size), np.ones(action_size))
    return Normaliser(*(np.asarray(item, np.float32) for item in (*numbers, *bounds)))


def marked(random_source, lengths):
    """A source whose observation names its episode and the place within it."""
    source = random_source(lengths, observation_size=2)
    place = [(e, t) for e, length in enumerate(lengths) for t in range(length + 1)]
    source.observation[:] = place
    source.action[:, 0] = np.linspace(-0.9, 0.9, len(source.action))
    return source


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=6), min_size=1, max_size=3),
    st.lists(st.floats(0.0, 1.0, exclude_max=True), min_size=1, max_size=40),
)
def test_no_sample_crosses_an_episode_or_a_dataset(random_source, datasets, uniform):
    sources = [marked(random_source, lengths) for lengths in datasets]
    rewards = [np.arange(len(item.action), dtype=np.float32) for item in sources]
    learners = [(i, rewards[i]) for i in range(len(sources))]
    data = OfflineData(sources, [identity(2)] * len(sources), learners)
    numbers = torch.tensor([uniform] * len(sources), dtype=torch.float64)
    batch = data.batch(numbers)
    for k, source in enumerate(sources):
        index = np.minimum((np.array(uniform) * len(source.action)).astype(int), len(source.action))
        now, after = batch.observation[k].numpy(), batch.next_observation[k].numpy()
        assert (now[:, 0] == after[:, 0]).all(), "the same episode"
        assert (now[:, 1] + 1 == after[:, 1]).all(), "one step later"
        np.testing.assert_array_equal(now, source.observation[source.row[index]])
        np.testing.assert_array_equal(batch.reward[k], index)
        np.testing.assert_array_equal(batch.mask[k], ~source.terminated[index])
        np.testing.assert_allclose(batch.action[k], source.action[index], atol=2 * ACTION_MARGIN)


def test_every_learner_reads_its_own_dataset_and_reward(random_source):
    sources = [random_source((4, 3), seed=1), random_source((6,), seed=2)]
    learners = [
        (where, np.full(len(sources[where].action), value, np.float32))
        for where, value in ((1, 10.0), (0, 20.0), (1, 30.0))
    ]
    data = OfflineData(sources, [identity()] * 2, learners)
    batch = data.batch(torch.tensor([[0.0, 0.999]] * 3, dtype=torch.float64))
    np.testing.assert_array_equal(batch.reward[:, 0], [10.0, 20.0, 30.0])
    for k, where in enumerate((1, 0, 1)):
        rows = sources[where].row[[0, -1]]
        np.testing.assert_array_equal(batch.observation[k], sources[where].observation[rows])


def test_every_dataset_is_normalised_by_its_own_statistics(random_source):
    sources = [random_source((40,), seed=1), random_source((30,), seed=2)]
    sources[1].observation[:] = 5.0 + 3.0 * sources[1].observation
    sources[1].observation[:, 0] = 7.0  # never changes
    normalisers = [Normaliser.fit(item, [-1.0] * 2, [1.0] * 2) for item in sources]
    assert normalisers[1].std[0] == 1.0
    rewards = [np.zeros(len(item.action), np.float32) for item in sources]
    data = OfflineData(sources, normalisers, list(enumerate(rewards)))
    for rows in (data.observation[:41], data.observation[41:]):
        np.testing.assert_allclose(rows.mean(0), 0.0, atol=1e-5)
    np.testing.assert_allclose(data.observation[:41].numpy().std(0), 1.0, rtol=1e-5)
    assert (data.observation[41:, 0] == 0.0).all()


def test_actions_are_scaled_into_the_open_unit_box(random_source):
    source = random_source((4,))
    source.action[:] = [[0.0, 10.0], [1.0, 20.0], [0.5, 15.0], [-9.0, 99.0]]
    normaliser = Normaliser.fit(source, [0.0, 10.0], [1.0, 20.0])
    data = OfflineData([source], [normaliser], [(0, np.zeros(4, np.float32))])
    edge = 1.0 - ACTION_MARGIN
    expected = [[-edge, -edge], [edge, edge], [0.0, 0.0], [-edge, edge]]
    np.testing.assert_allclose(data.action, expected, atol=1e-6)
    assert data.action.abs().max() < 1.0


def test_index_draws_are_uniform_independent_and_restorable():
    draw = IndexDraw([0, 1])
    numbers = draw.draw(10_000)
    assert numbers.shape == (2, 10_000)
    assert numbers.dtype == torch.float64
    assert 0.0 <= numbers.min() <= numbers.max() < 1.0
    np.testing.assert_allclose(numbers.mean(1), 0.5, atol=0.015)
    assert abs(np.corrcoef(numbers.numpy())[0, 1]) < 0.05
    state = draw.state()
    expected = draw.draw(5)
    other = IndexDraw([7, 8])
    other.load(state)
    assert torch.equal(other.draw(5), expected)
    assert torch.equal(IndexDraw([1]).draw(10_000)[0], numbers[1]), "one generator per seed"


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1e-3, 5.0), (1e4, -1e4)])
def test_standardise_gives_mean_zero_and_deviation_one(scale, shift):
    reward = np.random.default_rng(0).normal(shift, scale, 10_000).astype(np.float32)
    found = standardise(reward, shift=True)
    assert found.dtype == np.float32
    assert found.mean(dtype=np.float64) == pytest.approx(0.0, abs=1e-3)
    assert found.std(dtype=np.float64) == pytest.approx(1.0, rel=1e-3)
    assert (np.argsort(found, kind="stable") == np.argsort(reward, kind="stable")).all()


@pytest.mark.parametrize("value", [0.0, 0.1, -3.0])
def test_a_constant_reward_standardises_to_zero(value):
    assert not standardise(np.full(1000, value, np.float32), shift=True).any()


def test_without_a_shift_zero_stays_zero_and_a_constant_stays():
    reward = np.float32([0.0, 2.0, 4.0])
    np.testing.assert_allclose(standardise(reward, shift=False), reward / reward.std(), rtol=1e-6)
    assert (standardise(np.ones(5, np.float32), shift=False) == 1.0).all()
