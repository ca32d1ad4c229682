"""Reward ensembles, and corruption that changes what it says and nothing else."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embodied.dataset import Dataset, Episode
from embodied.dataset_json import DatasetInfo
from embodied.dataset_writer import write_dataset
from embodied.errors import UserError
from embodied.transforms import (
    TARGETS,
    Corruption,
    corrupt_episodes,
    corrupt_transitions,
    ensemble_reward,
    fit_scaling,
    standard_deviation,
)
from embodied.types import Field, Transitions

ROWS = 200


def transitions(rows: int = ROWS) -> Transitions:
    rng = np.random.default_rng(0)
    return Transitions(
        observation=rng.normal(3, 5, (rows, 3)).astype("f4"),
        action=rng.uniform(-1, 1, (rows, 2)).astype("f4"),
        next_observation=rng.normal(-2, [1, 10, 0.1], (rows, 3)).astype("f4"),
        terminated=np.zeros(rows, bool),
        truncated=np.zeros(rows, bool),
        reward=rng.normal(size=rows).astype("f4"),
    )


@pytest.fixture
def dataset(tmp_path):
    rng = np.random.default_rng(1)
    info = DatasetInfo("push", Field((2,), "rad", "", low=(-1.0, -1.0), high=(1.0, 1.0)))
    with write_dataset(tmp_path / "clean", info) as writer:
        for length, terminated in ((9, True), (1, False), (6, False), (12, True)):
            rows = length + 1
            writer.add(
                Episode(
                    observation=rng.normal(size=(rows, 3)),
                    action=rng.uniform(-1, 1, (length, 2)),
                    terminated=terminated,
                    state={"cube": rng.normal(size=(rows, 3))},
                    columns={"environment_reward": rng.normal(size=length).astype("f4")},
                )
            )
    return Dataset(tmp_path / "clean")


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_an_exact_share_of_one_part_changes_and_the_rest_is_the_same(kind, rate):
    clean = transitions()
    changed = corrupt_transitions(clean, Corruption(kind, rate, 1.0, 4))
    for name, target in {"reward": "reward", **TARGETS}.items():
        before, after = getattr(clean, target), getattr(changed, target)
        assert before.dtype == after.dtype
        differs = (before != after).reshape(len(before), -1).any(axis=1)
        assert differs.sum() == (round(rate * ROWS) if name == kind else 0)


@pytest.mark.parametrize("kind", ["observation", "action", "dynamics"])
def test_noise_is_uniform_in_standard_deviations(kind):
    clean = transitions(5000)
    target = TARGETS[kind]
    changed = corrupt_transitions(clean, Corruption(kind, 1.0, 2.0))
    std = getattr(clean, target).std(axis=0)
    noise = (getattr(changed, target) - getattr(clean, target)) / std
    assert np.abs(noise).max() <= 2.0 + 1e-4
    # The standard deviation of a uniform number within +-2.
    np.testing.assert_allclose(noise.std(axis=0), 2 / np.sqrt(3), rtol=0.03)


def test_a_corrupted_reward_is_uniform_in_its_range():
    changed = corrupt_transitions(transitions(5000), Corruption("reward", 1.0, 0.5)).reward
    assert np.abs(changed).max() <= 15.0
    np.testing.assert_allclose(changed.std(), 15 / np.sqrt(3), rtol=0.03)


def test_the_seed_decides():
    def corrupted(seed):
        return corrupt_transitions(transitions(), Corruption("action", 0.3, 1.0, seed)).action

    np.testing.assert_array_equal(corrupted(1), corrupted(1))
    assert (corrupted(1) != corrupted(2)).any()


def test_transitions_without_a_reward_have_none_to_corrupt():
    with pytest.raises(UserError, match="no reward to corrupt"):
        corrupt_transitions(replace(transitions(), reward=None), Corruption("reward"))


@pytest.mark.parametrize(
    "values", [{"kind": "noise"}, {"rate": 1.1}, {"rate": -0.1}, {"scale": -1.0}, {"seed": -1}]
)
def test_corruption_out_of_range_is_refused(values):
    with pytest.raises(UserError):
        Corruption(**{"kind": "action", **values})


def flat(dataset: Dataset) -> Transitions:
    batch = dataset.transitions(slice(None))
    return replace(batch, reward=batch.columns["environment_reward"])


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("rate", [0.0, 0.4, 1.0])
def test_corrupted_episodes_hold_the_corrupted_transitions(dataset, tmp_path, kind, rate):
    corruption = Corruption(kind, rate, 1.0, 7)
    whole = (dataset.episode(index) for index in range(dataset.num_episodes))
    with write_dataset(tmp_path / "noisy", dataset.info) as writer:
        for episode in corrupt_episodes(dataset, whole, corruption):
            writer.add(episode)
    found, expected = (
        flat(Dataset(tmp_path / "noisy")),
        corrupt_transitions(flat(dataset), corruption),
    )
    for name in ("observation", "action", "next_observation", "reward", "terminated"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    # Named fields stay clean, and an episode is cut only where rows could not be shared.
    for part in ("state", "next_state"):
        np.testing.assert_array_equal(getattr(found, part)["cube"], getattr(expected, part)["cube"])
    cuts = int(found.truncated.sum() - expected.truncated.sum())
    assert (cuts > 0) == (kind in ("observation", "dynamics") and rate > 0)


def test_episodes_without_a_reward_have_none_to_corrupt(dataset):
    bare = [replace(dataset.episode(0), columns={})]
    with pytest.raises(UserError, match="carry one with label"):
        list(corrupt_episodes(dataset, bare, Corruption("reward")))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 2**31))
def test_the_standard_deviation_of_blocks_is_that_of_all(lengths, seed):
    rng = np.random.default_rng(seed)
    blocks = [rng.normal(1e3, 1, (length, 2)) for length in lengths]
    np.testing.assert_allclose(
        standard_deviation(blocks), np.concatenate(blocks).std(axis=0), rtol=1e-6, atol=1e-9
    )


def test_an_ensemble_is_the_mean_of_z_scores_minus_weighted_variance():
    members = np.array([[0.0, 2.0, 4.0], [10.0, 10.0, 40.0]])
    scaled = (members - members.mean(axis=1, keepdims=True)) / members.std(axis=1, keepdims=True)
    expected = scaled.mean(axis=0) - 0.5 * scaled.var(axis=0)
    np.testing.assert_allclose(ensemble_reward(members, 0.5), expected)
    tensor = ensemble_reward(list(torch.tensor(members)), 0.5, fit_scaling(members))
    np.testing.assert_allclose(tensor.numpy(), expected)


def test_units_of_a_member_do_not_matter():
    rng = np.random.default_rng(0)
    members = rng.normal(size=(3, 50))
    scaled = members * np.array([[1.0], [1e4], [1e-3]]) + np.array([[0.0], [5.0], [-7.0]])
    np.testing.assert_allclose(ensemble_reward(scaled, 1.0), ensemble_reward(members, 1.0))


def test_a_constant_member_says_nothing():
    varied = np.array([0.0, 1.0, 2.0])
    found = ensemble_reward([varied, np.full(3, 7.0)], 0.0)
    np.testing.assert_allclose(found, (varied - 1) / varied.std() / 2)


def test_it_resists_picking_the_luckiest_candidate():
    """Best of many by noisy models: the truth of what is picked, over 40 trials."""
    rng = np.random.default_rng(0)
    picked = []
    for _ in range(40):
        truth = rng.normal(size=2000)
        # Models agree where data were, and err wildly elsewhere.
        spread = np.where(rng.random(2000) < 0.8, 0.1, 3.0)
        members = truth + spread * rng.normal(size=(5, 2000))
        choices = members[0], ensemble_reward(members, 0.0), ensemble_reward(members, 1.0)
        picked.append([truth[choice.argmax()] for choice in choices])
    single, mean, careful = np.mean(picked, axis=0)
    assert single < mean < careful
    assert careful > single + 1.0


@pytest.mark.parametrize("dtype", [bool, np.int64])
def test_a_corrupted_reward_of_whole_numbers_becomes_a_float(dataset, dtype):
    episode = dataset.episode(0)
    columns = {"environment_reward": np.zeros(len(episode.action), dtype)}
    corruption = Corruption("reward", 1.0, 0.01)
    (found,) = corrupt_episodes(dataset, [replace(episode, columns=columns)], corruption)
    values = found.columns["environment_reward"]
    assert values.dtype == np.float32
    assert 0 < np.abs(values).max() <= 0.3
