"""The policy and its controls beside each other: who gets which reward, seed and dataset."""

import numpy as np
import pytest
import torch

from embodied.dataset import Dataset, Episode
from embodied.dataset_json import DatasetInfo
from embodied.dataset_writer import write_dataset
from embodied.engine import random
from embodied.errors import UserError
from embodied.runs import RunFolder
from embodied.stages.arms import make_groups, reward_columns
from embodied.stages.divergence import Divergence
from embodied.types import Field

SMALL = {"hidden": [8], "batch_size": 16}


def make_dataset(folder, shift, success=True):
    """Five random episodes; the observations lie around ``shift``."""
    rng = np.random.default_rng(int(shift))
    action = Field((2,), "rad", "An action.", low=(-1.0, -2.0), high=(1.0, 2.0))
    with write_dataset(folder, DatasetInfo("push", action)) as writer:
        for length in (4, 7, 3, 6, 5):
            columns = {"success": rng.random(length) < 0.5} if success else {}
            observation = shift + rng.normal(size=(length + 1, 3))
            actions = rng.uniform(-1, 1, (length, 2))
            writer.add(Episode(observation, actions, False, columns=columns))
    return Dataset(folder)


@pytest.fixture(name="datasets")
def _datasets(tmp_path):
    return [make_dataset(tmp_path / str(shift), shift) for shift in (0, 50)]


def labels(datasets):
    return [np.linspace(0, i + 1, len(item)).astype(np.float32) for i, item in enumerate(datasets)]


def scaled(column):
    return (np.asarray(column.values, np.float64) - column.shift) / column.scale


def groups_of(datasets, policy="iql", controls=True, seeds=(0, 1), **options):
    rewards = reward_columns(datasets, labels(datasets), controls=controls, scaled=True)
    found = make_groups(
        {"name": policy, **SMALL, **options},
        datasets,
        rewards,
        controls=controls,
        seeds=seeds,
        steps=20,
        device="cpu",
        compiled=False,
    )
    return {group.algorithm: group for group in found}


def test_the_arms_have_their_own_rewards(datasets):
    given = labels(datasets)
    found = reward_columns(datasets, given, controls=True, scaled=False)
    assert list(found) == ["policy", "constant_reward", "true_reward"]
    for i, dataset in enumerate(datasets):
        np.testing.assert_array_equal(scaled(found["policy"][i]), given[i])
        assert (scaled(found["constant_reward"][i]) == 1.0).all()
        success = dataset.column("column.success")
        np.testing.assert_array_equal(scaled(found["true_reward"][i]), success)


def test_every_reward_is_scaled_per_dataset(datasets):
    found = reward_columns(datasets, labels(datasets), controls=True, scaled=True)
    for arm in ("policy", "true_reward"):
        for column in found[arm]:
            assert scaled(column).mean() == pytest.approx(0.0, abs=1e-6)
            assert scaled(column).std() == pytest.approx(1.0, rel=1e-5)
    assert not scaled(found["constant_reward"][0]).any()


def test_without_a_true_reward_that_control_is_left_out(tmp_path):
    dataset = make_dataset(tmp_path / "blind", 1, success=False)
    found = reward_columns([dataset], labels([dataset]), controls=True, scaled=True)
    assert list(found) == ["policy", "constant_reward"]


def test_without_controls_there_is_the_policy_alone(datasets):
    groups = groups_of(datasets, controls=False)
    assert {name: group.arms for name, group in groups.items()} == {"iql": ("policy",)}


def test_bc_shares_the_policys_sizes_and_is_no_control_of_itself(datasets):
    groups = groups_of(datasets)
    assert groups["iql"].arms == ("policy", "constant_reward", "true_reward")
    assert groups["bc"].arms == ("bc",)
    assert groups["bc"].learner.actor_weights()["actor.0.weight"].shape == (2, 3, 8)
    assert groups["bc"].learner.batch_size == 16
    assert groups_of(datasets, "bc").keys() == {"bc"}


def test_metrics_are_split_by_arm_and_then_by_seed(datasets):
    group = groups_of(datasets)["iql"]
    found = group.per_arm({"loss": torch.arange(6.0)}, 2)
    assert found == {
        "policy/loss": [0.0, 1.0],
        "constant_reward/loss": [2.0, 3.0],
        "true_reward/loss": [4.0, 5.0],
    }


def test_arms_of_a_seed_see_the_same_minibatches_with_their_own_rewards(datasets):
    group = groups_of(datasets)["iql"]
    batch = group.data.block(random.bits(random.keys(group.learner.seeds), torch.arange(1), 64))
    batch = batch.at(0)
    for arm in (2, 4):  # learners are arm-major: seeds 0 and 1 of each arm follow each other
        assert torch.equal(batch.observation[arm : arm + 2], batch.observation[:2])
        assert torch.equal(batch.action[arm : arm + 2], batch.action[:2])
    assert not torch.equal(batch.observation[0], batch.observation[1])
    assert not batch.reward[2:4].any(), "the constant reward"
    assert len(batch.reward[4].unique()) == 2, "success or not"
    assert len(batch.reward[0].unique()) > 2


def test_arms_of_a_seed_start_from_the_same_weights(datasets):
    for value in groups_of(datasets)["iql"].learner.actor_weights().values():
        assert torch.equal(value[0], value[2])
        assert torch.equal(value[0], value[4])


def test_every_seeds_policy_carries_its_own_datasets_normalisation(datasets, tmp_path):
    group = groups_of(datasets)["iql"]
    group.learner.update(group.data, 3)
    made = group.policies((0, 1), Divergence(RunFolder(tmp_path), (0, 1), resumed_at=0))
    assert [(arm, seed) for arm, seed, _ in made] == [
        (arm, seed) for arm in group.arms for seed in (0, 1)
    ]
    weights = group.learner.actor_weights()["actor.0.weight"].numpy()
    for place, (_, seed, policy) in enumerate(made):
        mean = policy.description["normalisation"]["mean"]
        np.testing.assert_allclose(mean, 50.0 * seed, atol=2.0)
        assert policy.description["action"]["high"] == [1.0, 2.0]
        np.testing.assert_array_equal(policy.weights["actor.0.weight"], weights[place])


def test_listed_hyper_parameters_are_one_per_seed_in_every_arm(datasets):
    groups = groups_of(datasets, expectile=[0.7, 0.9], learning_rate=[1e-3, 2e-3])
    learner = groups["iql"].learner
    assert learner.seeds == [0, 1] * 3
    np.testing.assert_allclose(learner.expectile[:, 0], [0.7, 0.9] * 3)
    np.testing.assert_allclose(learner.value.learning_rate[:, 0], [1e-3, 2e-3] * 3)
    np.testing.assert_allclose(learner.critic.learning_rate[:, 0], np.repeat([1e-3, 2e-3] * 3, 2))
    np.testing.assert_allclose(groups["bc"].learner.actor.learning_rate[:, 0], [1e-3, 2e-3])


@pytest.mark.parametrize("values", [[0.7], [0.7, 0.8, 0.9]])
def test_a_list_of_another_length_than_the_seeds_is_refused(datasets, values):
    message = f"policy.expectile lists {len(values)} values for 2 seeds"
    with pytest.raises(UserError, match=message) as caught:
        groups_of(datasets, expectile=values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("policy", "options", "message"),
    [
        ("iql", {"learning_rate": [1e-3, 0.0]}, "policy.learning_rate .* must be positive"),
        ("iql", {"expectile": [0.7, 1.1]}, "policy.expectile .* between 0 and 1"),
        ("iql", {"quantile": -0.1}, "policy.quantile is -0.1; it must be between 0 and 1"),
        ("iql", {"critics": 0}, "policy.critics is 0; it must be positive"),
        ("iql", {"huber": 0.0}, "policy.huber is 0.0; it must be positive"),
        ("cql", {"samples": 0}, "policy.samples is 0; it must be positive"),
        ("cql", {"actor_learning_rate": -1.0}, "policy.actor_learning_rate .* positive"),
        ("td3bc", {"polyak": 0.0}, "policy.polyak is 0.0; it must be positive"),
        ("td3bc", {"expectile": 0.7}, "unknown config key policy.expectile"),
    ],
)
def test_a_hyper_parameter_out_of_its_range_is_refused(datasets, policy, options, message):
    with pytest.raises(UserError, match=message) as caught:
        groups_of(datasets, policy, **options)
    assert "\n" not in str(caught.value)


def test_only_the_algorithm_that_asks_gets_the_return_to_go(datasets):
    bits = torch.arange(8).view(1, 1, 8).expand(1, 6, 8)
    bounded = groups_of(datasets, "cql")
    batch = bounded["cql"].data.block(bits).at(0)
    assert batch.return_to_go.shape == (6, 8)
    # The first episode has four transitions; its last return is its last reward.
    torch.testing.assert_close(batch.return_to_go[:, 3], batch.reward[:, 3])
    discount = bounded["cql"].learner.config.discount
    torch.testing.assert_close(
        batch.return_to_go[:, :3], batch.reward[:, :3] + discount * batch.return_to_go[:, 1:4]
    )
    assert bounded["bc"].data.block(bits[:, :2]).return_to_go is None
    for policy, options in (("iql", {}), ("td3bc", {}), ("cql", {"calibrated": False})):
        group = groups_of(datasets, policy, **options)[policy]
        assert group.data.block(bits).return_to_go is None


@pytest.mark.parametrize("policy", ["td3bc", "cql"])
def test_every_algorithm_is_trained_beside_its_controls(datasets, policy, tmp_path):
    groups = groups_of(datasets, policy)
    assert {name: group.arms for name, group in groups.items()} == {
        policy: ("policy", "constant_reward", "true_reward"),
        "bc": ("bc",),
    }
    diverged = Divergence(RunFolder(tmp_path), (0, 1), resumed_at=0)
    for group in groups.values():
        metrics = group.per_arm(group.learner.update(group.data, 2), 2)
        assert {key.partition("/")[0] for key in metrics} == set(group.arms)
        assert np.isfinite([*metrics.values()]).all()
        for _, _, made in group.policies((0, 1), diverged):
            action, _ = made.predict(np.zeros((4, 3)), deterministic=True)
            assert action.shape == (4, 2)
            assert (np.abs(action) <= [1.0, 2.0]).all()
