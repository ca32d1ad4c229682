"""What every learner keeps to. To hold yours to it, add a line to ``LEARNERS``."""

import numpy as np
import pytest
import torch

from embodied.engine.data import Normaliser, OfflineData
from embodied.types import Learner
from policies.bc import BC, BCConfig
from policies.iql import IQL, IQLConfig

SMALL = {"hidden": (16, 16), "batch_size": 32, "learning_rate": 1e-3}
LEARNERS = {
    "iql": lambda seeds, device: IQL(IQLConfig(**SMALL), 5, 2, seeds, 100, device),
    "bc": lambda seeds, device: BC(BCConfig(**SMALL), 5, 2, seeds, 100, device),
}


@pytest.fixture(params=LEARNERS.values(), ids=LEARNERS, name="make")
def _make(request):
    return request.param


@pytest.fixture(name="data")
def _data(random_source, device):
    source = random_source((30, 50, 20))
    normaliser = Normaliser.fit(source, [-1.0] * 2, [1.0] * 2)
    reward = np.random.default_rng(0).normal(size=100).astype(np.float32)
    return lambda count: OfflineData([source], [normaliser], [(0, reward)] * count, device)


def exact(first, second):
    assert first.keys() == second.keys()
    return all(torch.equal(torch.as_tensor(first[k]), torch.as_tensor(second[k])) for k in first)


def test_it_has_the_protocols_methods(make, device):
    assert isinstance(make([0], device), Learner)


@pytest.mark.parametrize("seeds", [[0], [0, 1, 2]], ids=["one seed", "three seeds"])
def test_update_returns_finite_metrics_per_seed(make, data, device, seeds):
    metrics = make(seeds, device).update(data(len(seeds)), 3)
    assert metrics
    for value in metrics.values():
        assert value.shape == (len(seeds),)
        assert torch.isfinite(value).all()


def test_the_actors_weights_have_a_leading_axis_of_seeds(make, device):
    weights = make([0, 1, 2], device).actor_weights()
    assert "actor.log_std" in weights
    assert {value.shape[0] for value in weights.values()} == {3}
    assert {value.device.type for value in weights.values()} == {"cpu"}


def test_the_same_seed_gives_the_same_learner(make, data, device):
    runs = [make([3, 5], device) for _ in range(2)]
    metrics = [learner.update(data(2), 10) for learner in runs]
    assert exact(metrics[0], metrics[1])
    assert exact(runs[0].state_dict(), runs[1].state_dict())


def test_many_updates_at_once_are_those_one_by_one(make, data, device):
    at_once, stepwise = make([0, 1], device), make([0, 1], device)
    at_once.update(data(2), 6)
    for _ in range(6):
        stepwise.update(data(2), 1)
    assert exact(at_once.state_dict(), stepwise.state_dict())


@pytest.mark.parametrize("before", [0, 7])
def test_a_fresh_learner_goes_on_from_a_state_bit_for_bit(make, data, device, before):
    first, second = make([0, 1], device), make([8, 9], device)
    first.update(data(2), before)
    state = {key: value.cpu() for key, value in first.state_dict().items()}  # as a checkpoint
    second.load_state_dict(state)
    assert exact(first.state_dict(), second.state_dict())
    assert exact(first.update(data(2), 7), second.update(data(2), 7))
    assert exact(first.state_dict(), second.state_dict())
    assert exact(first.actor_weights(), second.actor_weights())


@pytest.mark.parametrize("before", [0, 7])
def test_a_used_learner_goes_back_to_a_state_bit_for_bit(make, data, device, before):
    learner = make([0, 1], device)
    learner.update(data(2), before)
    state = learner.state_dict()
    learner.update(data(2), 5)
    after = learner.state_dict()
    learner.load_state_dict(state)
    learner.update(data(2), 5)
    assert exact(learner.state_dict(), after)


def test_a_state_is_a_copy(make, data, device):
    learner = make([0], device)
    learner.update(data(1), 2)
    state, weights = learner.state_dict(), learner.actor_weights()
    kept = [{key: value.clone() for key, value in item.items()} for item in (state, weights)]
    learner.update(data(1), 2)
    assert exact(state, kept[0])
    assert exact(weights, kept[1])
    assert not exact(learner.actor_weights(), weights)
