"""Offline data on the device, against plain NumPy."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embodied.engine import data as engine_data
from embodied.engine import random
from embodied.engine.data import (
    ACTION_MARGIN,
    Batch,
    Normaliser,
    OfflineData,
    RewardColumn,
    Source,
    moments,
    returns_to_go,
    standardise,
)
from embodied.engine.stream import StreamedData


def identity(observation_size=5, action_size=2):
    numbers = (np.zeros(observation_size), np.ones(observation_size))
    bounds = (-np.ones(action_size), np.ones(action_size))
    return Normaliser(*(np.asarray(item, np.float32) for item in (*numbers, *bounds)))


def marked(random_source, lengths):
    """A source whose observation names its episode and the place within it."""
    source = random_source(lengths, observation_size=2)
    place = [(e, t) for e, length in enumerate(lengths) for t in range(length + 1)]
    source.observation[:] = place
    source.action[:, 0] = np.linspace(-0.9, 0.9, len(source))
    return source


def everything(data, learners, count):
    """Every transition in order, for every learner, as one batch."""
    return data.block(torch.arange(count).expand(1, learners, count)).at(0)


LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(LENGTHS, min_size=1, max_size=3),
    st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=40),
)
def test_no_sample_crosses_an_episode_or_a_dataset(random_source, datasets, bits):
    sources = [marked(random_source, lengths) for lengths in datasets]
    rewards = [RewardColumn(np.arange(len(item))) for item in sources]
    data = OfflineData(sources, [identity(2)] * len(sources), list(enumerate(rewards)))
    block = data.block(torch.tensor([[bits] * len(sources)] * 2))
    for k, (source, lengths) in enumerate(zip(sources, datasets, strict=True)):
        batch = block.at(1).map(lambda item, k=k: item[k])
        index = np.array(bits) % len(source)
        episode = np.repeat(np.arange(len(lengths)), lengths)[index]
        now, after = batch.observation.numpy(), batch.next_observation.numpy()
        np.testing.assert_array_equal(now[:, 0], episode)
        np.testing.assert_array_equal(after[:, 0], episode, "the same episode")
        np.testing.assert_array_equal(now[:, 1], index - source.episode_starts[episode])
        np.testing.assert_array_equal(after[:, 1], now[:, 1] + 1, "one step later")
        np.testing.assert_array_equal(batch.reward, index)
        np.testing.assert_array_equal(batch.mask, ~source.terminated[index])
        np.testing.assert_allclose(batch.action, source.action[index], atol=2 * ACTION_MARGIN)


def test_every_learner_reads_its_own_dataset_and_reward(random_source, device):
    sources = [random_source((4, 3), seed=1), random_source((6,), seed=2)]
    learners = [
        (where, RewardColumn(np.full(len(sources[where]), value, np.float32)))
        for where, value in ((1, 10.0), (0, 20.0), (1, 30.0))
    ]
    data = OfflineData(sources, [identity()] * 2, learners, device)
    batch = data.block(torch.tensor([[[0, 5]] * 3], device=device)).at(0).map(torch.Tensor.cpu)
    np.testing.assert_array_equal(batch.reward[:, 0], [10.0, 20.0, 30.0])
    for k, (where, rows) in enumerate(((1, [0, 5]), (0, [0, 6]), (1, [0, 5]))):
        np.testing.assert_array_equal(batch.observation[k], sources[where].observation[rows])


def test_a_block_is_its_minibatches(random_source):
    sources = [random_source((4, 3), seed=1), random_source((6,), seed=2)]
    rewards = [RewardColumn(np.arange(len(item))) for item in sources]
    learners = [(1, rewards[1]), (0, rewards[0])]
    data = OfflineData(sources, [identity()] * 2, learners)
    bits = random.bits(random.keys([3, 4]), torch.arange(5), 7)
    block = data.block(bits)
    for k in range(5):
        alone = data.block(bits[k : k + 1]).at(0)
        for name in Batch._fields[:-1]:
            assert torch.equal(getattr(block.at(k), name), getattr(alone, name)), name
    assert block.return_to_go is None


def test_every_dataset_is_normalised_by_its_own_statistics(random_source):
    sources = [random_source((40,), seed=1), random_source((40,), seed=2)]
    sources[1].observation[:] = 5.0 + 3.0 * sources[1].observation
    sources[1].observation[:, 0] = 7.0  # never changes
    normalisers = [Normaliser.fit(item, [-1.0] * 2, [1.0] * 2) for item in sources]
    assert normalisers[1].std[0] == 1.0
    learners = [(i, RewardColumn(np.zeros(40))) for i in range(2)]
    batch = everything(OfflineData(sources, normalisers, learners), 2, 40)
    rows = torch.cat([batch.observation, batch.next_observation[:, -1:]], 1).numpy()
    np.testing.assert_allclose(rows.mean(1), 0.0, atol=1e-5)
    np.testing.assert_allclose(rows.std(1)[0], 1.0, rtol=1e-5)
    assert (rows[1, :, 0] == 0.0).all()


def test_actions_are_scaled_into_the_open_unit_box(random_source):
    source = random_source((4,))
    source.action[:] = [[0.0, 10.0], [1.0, 20.0], [0.5, 15.0], [-9.0, 99.0]]
    normaliser = Normaliser.fit(source, [0.0, 10.0], [1.0, 20.0])
    data = OfflineData([source], [normaliser], [(0, RewardColumn(np.zeros(4)))])
    edge = 1.0 - ACTION_MARGIN
    action = everything(data, 1, 4).action[0]
    np.testing.assert_allclose(
        action, [[-edge, -edge], [edge, edge], [0.0, 0.0], [-edge, edge]], atol=1e-6
    )
    assert action.abs().max() < 1.0


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.bool_])
def test_a_reward_is_shifted_and_scaled_where_it_is_read(random_source, dtype):
    source = random_source((6,))
    values = np.array([0, 1, 1, 0, 1, 0]).astype(dtype)
    kept = values.copy()
    data = OfflineData([source], [identity()], [(0, RewardColumn(values, 0.5, 0.25))])
    found = everything(data, 1, 6).reward[0]
    assert found.dtype == torch.float32
    np.testing.assert_array_equal(found, (kept.astype(np.float32) - 0.5) / 0.25)
    np.testing.assert_array_equal(values, kept)


def test_a_float64_source_gives_the_batches_of_its_float32_copy(random_source):
    source = random_source()
    wide = Source(
        source.observation.astype(np.float64),
        source.action.astype(np.float64),
        source.terminated,
        source.episode_starts,
    )
    learners = [(0, RewardColumn(np.zeros(len(source))))]
    narrow, found = (
        everything(OfflineData([item], [identity()], learners), 1, len(source))
        for item in (source, wide)
    )
    for name in Batch._fields[:-1]:
        assert getattr(found, name).dtype == torch.float32
        assert torch.equal(getattr(found, name), getattr(narrow, name)), name


def test_memory_mapped_columns_stay_where_they_are(random_source, tmp_path):
    """Neither a copy nor a warning, though they cannot be written to."""
    source = random_source()
    columns = {**vars(source), "reward": np.arange(len(source), dtype=np.float32)}
    mapped = {}
    for name, values in columns.items():
        np.save(tmp_path / f"{name}.npy", values)
        mapped[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
    reward = mapped.pop("reward")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = OfflineData([Source(**mapped)], [identity()], [(0, RewardColumn(reward))])
        found = everything(data, 1, len(source))
    (part,) = data._parts
    held = {part._observation: mapped["observation"], part._action: mapped["action"]}
    held |= {part._terminated: mapped["terminated"], part._rewards[0][0]: reward}
    for tensor, array in held.items():
        assert tensor.data_ptr() == array.ctypes.data
    in_memory = OfflineData([source], [identity()], [(0, RewardColumn(columns["reward"]))])
    expected = everything(in_memory, 1, len(source))
    assert torch.equal(found.next_observation, expected.next_observation)
    assert torch.equal(found.reward, expected.reward)


def test_a_broadcast_reward_needs_no_memory_of_its_own(random_source):
    source = random_source()
    reward = np.broadcast_to(np.ones(1, np.float32), len(source))
    data = OfflineData([source], [identity()], [(0, RewardColumn(reward))])
    assert (everything(data, 1, len(source)).reward == 1.0).all()


def test_streamed_blocks_are_the_hosts(random_source, device):
    source = random_source()
    reward = RewardColumn(np.arange(len(source)), return_to_go=np.ones(len(source), np.float32))
    data = OfflineData([source], [identity()], [(0, reward)] * 2)
    bits = [random.bits(random.keys([0, 1]), torch.arange(k, k + 3), 5) for k in range(7)]
    found = [item.map(torch.clone) for item in StreamedData(data, device).blocks(bits)]
    assert len(found) == 7
    for block, expected in zip(found, data.blocks(bits), strict=True):
        for name in Batch._fields:
            assert torch.equal(getattr(block, name).cpu(), getattr(expected, name)), name


# --- statistics and returns -------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1,), (7,), (23, 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.bool_])
def test_moments_in_chunks_are_numpys(monkeypatch, shape, dtype):
    monkeypatch.setattr(engine_data, "CHUNK", 5)
    values = (3.0 * np.random.default_rng(0).normal(size=shape) + 1.0).astype(dtype)
    mean, std = moments(values)
    np.testing.assert_allclose(mean, values.mean(0, dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(std, values.astype(np.float64).std(0), rtol=1e-12)


@settings(max_examples=60, deadline=None)
@given(LENGTHS, st.floats(0.0, 1.0), st.integers(0, 99))
def test_the_return_to_go_is_a_loop_from_each_episodes_end(lengths, discount, seed):
    count = sum(lengths)
    column = RewardColumn(np.random.default_rng(seed).normal(size=count), 0.3, 2.0)
    starts = np.append(0, np.cumsum(lengths)[:-1])
    expected = np.zeros(count)
    for start, length in zip(starts, lengths, strict=True):
        following = 0.0
        for i in reversed(range(start, start + length)):
            following = (column.values[i] - 0.3) / 2.0 + discount * following
            expected[i] = following
    found = returns_to_go(column, starts, discount)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_the_return_to_go_travels_with_its_transition(random_source):
    source = random_source()
    columns = [RewardColumn(np.zeros(len(source))), RewardColumn(np.ones(len(source)))]
    returns = [np.arange(len(source), dtype=np.float32) + 100 * i for i in range(2)]
    bounded = [
        RewardColumn(item.values, return_to_go=values)
        for item, values in zip(columns, returns, strict=True)
    ]
    data = OfflineData([source], [identity()], [(0, item) for item in bounded])
    bits = torch.tensor([[[3, 1], [2, 9]]])
    np.testing.assert_array_equal(data.block(bits).return_to_go, [[[3, 1], [102, 109]]])
    mixed = OfflineData([source], [identity()], [(0, bounded[0]), (0, columns[1])])
    assert mixed.block(bits).return_to_go is None


def scaled(column):
    return (np.asarray(column.values, np.float64) - column.shift) / column.scale


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1e-3, 5.0), (1e4, -1e4)])
def test_standardise_gives_mean_zero_and_deviation_one(scale, shift):
    reward = np.random.default_rng(0).normal(shift, scale, 10_000).astype(np.float32)
    column = standardise(reward, shift=True)
    assert column.values is reward
    found = scaled(column)
    assert found.mean() == pytest.approx(0.0, abs=1e-9)
    assert found.std() == pytest.approx(1.0, rel=1e-9)


@pytest.mark.parametrize("value", [0.0, 0.1, -3.0])
def test_a_constant_reward_standardises_to_zero(value):
    column = standardise(np.full(1000, value, np.float32), shift=True)
    assert column.scale == 1.0
    np.testing.assert_allclose(scaled(column), 0.0, atol=1e-9)


def test_without_a_shift_zero_stays_zero_and_a_constant_stays():
    reward = np.float32([0.0, 2.0, 4.0])
    np.testing.assert_allclose(
        scaled(standardise(reward, shift=False)), reward / reward.std(), rtol=1e-6
    )
    assert (scaled(standardise(np.ones(5, np.float32), shift=False)) == 1.0).all()
