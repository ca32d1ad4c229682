"""What every learner keeps to. To hold yours to it, add a line to ``LEARNERS``."""

import dataclasses

import numpy as np
import pytest
import torch

from embodied.engine.data import Normaliser, OfflineData, RewardColumn, returns_to_go
from embodied.engine.pairs import PairData
from embodied.engine.program import CUDA_BLOCK
from embodied.errors import UserError
from embodied.preferences import PreferencePairs
from embodied.types import Learner
from policies.bc import BC, BCConfig
from policies.cpl import CPL, CPLConfig
from policies.cql import CQL, CQLConfig
from policies.iql import IQL, IQLConfig
from policies.td3bc import TD3BC, TD3BCConfig

SMALL = {"hidden": (16, 16), "batch_size": 32, "learning_rate": 1e-3}
LEARNERS = {
    "iql": (IQL, IQLConfig(**SMALL)),
    "bc": (BC, BCConfig(**SMALL)),
    "td3bc": (TD3BC, TD3BCConfig(**SMALL)),
    "cql": (CQL, CQLConfig(**SMALL, samples=2)),
    "cpl": (CPL, CPLConfig(**SMALL, bc_steps=4)),  # most tests go over the end of its cloning
}
# What can differ between stacked seeds: every hyper-parameter of type PerSeed, two values each.
SWEPT = {
    "learning_rate": (1e-3, 4e-3),
    "actor_learning_rate": (2e-3, 5e-4),
    "discount": (0.99, 0.8),
    "expectile": (0.7, 0.9),
    "temperature": (3.0, 1.0),
    "alpha": (2.5, 0.5),
    "conservatism": (5.0, 1.0),
    "conservative_bias": (0.5, 0.9),
}


@pytest.fixture(params=LEARNERS.values(), ids=LEARNERS, name="make")
def _make(request):
    maker, config = request.param

    def make(seeds, device, changes=None, **options):
        changed = dataclasses.replace(config, **(changes or {}))
        return maker(changed, 5, 2, seeds, 100, device, **options)

    make.learns_from = getattr(maker, "learns_from", "rewards")
    make.swept = {
        item.name: SWEPT[item.name]
        for item in dataclasses.fields(config)
        if "PerSeed" in str(item.type)
    }
    return make


def some_pairs(lengths):
    """Pairs of segments of up to five transitions, a fifth of them ties."""
    rng, starts = np.random.default_rng(0), np.append(0, np.cumsum(lengths)[:-1])
    episode, length = rng.integers(len(lengths), size=(2, 40)), rng.integers(1, 6, 40)
    places = rng.integers(np.asarray(lengths)[episode] - length + 1)
    preference = rng.choice([0.0, 1.0, 0.0, 1.0, 0.5], 40).astype(np.float32)
    return PreferencePairs(*(starts[episode] + places), length, preference)


@pytest.fixture(name="data")
def _data(make, random_source, device):
    learns_from = make.learns_from

    def make(count, device=device, lengths=(30, 50, 20)):
        source = random_source(lengths)
        normaliser = Normaliser.fit(source, [-1.0] * 2, [1.0] * 2)
        reward = RewardColumn(np.random.default_rng(0).normal(size=len(source)))
        returns = returns_to_go(reward, source.episode_starts, 0.99)
        reward = dataclasses.replace(reward, return_to_go=returns)
        offline = OfflineData([source], [normaliser], [(0, reward)] * count, device)
        if learns_from == "pairs":
            return PairData(offline, [some_pairs(lengths)] * count)
        return offline

    return make


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
    assert "actor.0.weight" in weights
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


def test_a_seed_does_not_see_the_seeds_beside_it(make, data, device):
    """Float64, so that nothing but another order of the same sums can differ."""
    small = {"hidden": (8, 8), "batch_size": 16}
    stacked = make(list(range(8)), device, small, dtype=torch.float64)
    metrics = stacked.update(data(8), 100)
    solo = make([5], device, small, dtype=torch.float64)
    assert_is_the_seed_at(5, solo, solo.update(data(1), 100), stacked, metrics)


def test_a_sweep_in_one_program_is_the_separate_runs(make, data, device):
    """Every hyper-parameter that may be listed, changed at once."""
    assert "learning_rate" in make.swept
    both = make([3, 4], device, make.swept, dtype=torch.float64)
    metrics = both.update(data(2), 30)
    for place, seed in enumerate((3, 4)):
        changes = {key: values[place] for key, values in make.swept.items()}
        solo = make([seed], device, changes, dtype=torch.float64)
        assert_is_the_seed_at(place, solo, solo.update(data(1), 30), both, metrics)


def assert_is_the_seed_at(place, solo, measured, stacked, metrics):
    state = stacked.state_dict()
    for key, value in solo.state_dict().items():
        if value.ndim < 2:
            continue  # counts, and the seeds themselves
        members = len(value)
        expected = state[key][place * members : (place + 1) * members]
        assert (value - expected).norm() <= 1e-9 * expected.norm(), key
    for key, value in measured.items():
        torch.testing.assert_close(value[0], metrics[key][place], rtol=1e-9, atol=1e-12)


def test_a_sweep_of_another_length_is_refused(make, device):
    for key in make.swept:
        with pytest.raises(UserError, match="3 values for 2 stacked seeds") as caught:
            make([0, 1], device, {key: (0.5, 0.6, 0.7)})
        assert "\n" not in str(caught.value)


def test_a_seed_that_became_nan_leaves_the_others_as_they_are(make, data, device):
    """An infinite learning rate for the one in the middle."""
    spoilt = make([0, 1, 2], device, {"learning_rate": (1e-3, 1e30, 1e-3)})
    metrics = spoilt.update(data(3), 20)
    sound = make([0, 1, 2], device)
    expected = sound.update(data(3), 20)
    assert not all(torch.isfinite(value[1]) for value in metrics.values())
    for place in (0, 2):
        for key, value in sound.actor_weights().items():
            assert torch.equal(spoilt.actor_weights()[key][place], value[place]), key
        for key, value in expected.items():
            assert torch.equal(metrics[key][place], value[place]), key


@pytest.mark.parametrize("wrong", ["seeds", "sizes", "missing"])
def test_a_state_of_another_learner_is_refused(make, data, device, wrong):
    other = {"seeds": ([0, 1, 2], {}), "sizes": ([0, 1], {"hidden": (16, 17)})}
    seeds, changes = other.get(wrong, ([0, 1], {}))
    state = make(seeds, device, changes).state_dict()
    if wrong == "missing":
        del state["actor.exp_avg"]
    with pytest.raises((KeyError, ValueError)):
        make([0, 1], device).load_state_dict(state)


# --- CUDA graphs ------------------------------------------------------------------------------

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")


def pair_on_gpu(make):
    """A learner that replays graphs and one that never does."""
    graph, eager = (make([0, 1], "cuda") for _ in range(2))
    eager.program.captured = False
    return graph, eager


def assert_alike(graph, eager):
    """As exact as the order of sums in the same kernels allows."""
    state = eager.state_dict()
    for key, value in graph.state_dict().items():
        torch.testing.assert_close(value, state[key], rtol=1e-5, atol=1e-6, msg=key)


@GPU
@pytest.mark.parametrize("first", [0, 1, 2], ids=["even", "odd", "even again"])
def test_captured_updates_are_the_eager_ones(make, data, first):
    """Also when whole blocks begin at an odd update, and with rests that are not captured."""
    graph, eager = pair_on_gpu(make)
    for steps in (first, 3 * CUDA_BLOCK, 5, 2 * CUDA_BLOCK + 1):
        found, expected = (item.update(data(2, "cuda"), steps) for item in (graph, eager))
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-5, msg=key)
    assert graph.program._graphs
    assert not eager.program._graphs
    assert_alike(graph, eager)


@GPU
def test_a_captured_learner_goes_back_to_a_state_and_takes_other_data(make, data):
    graph, eager = pair_on_gpu(make)
    for learner in (graph, eager):
        learner.update(data(2, "cuda"), 2 * CUDA_BLOCK)
        state = learner.state_dict()
        learner.update(data(2, "cuda"), CUDA_BLOCK)
        learner.load_state_dict(state)
        learner.update(data(2, "cuda", (20, 40)), 2 * CUDA_BLOCK + 3)
    assert graph.steps == 4 * CUDA_BLOCK + 3
    assert_alike(graph, eager)


@GPU
@pytest.mark.parametrize("before", [0, 2])
def test_a_state_of_the_cpu_goes_on_on_the_gpu(make, data, before):
    host, gpu = make([0, 1], "cpu"), make([0, 1], "cuda")
    host.update(data(2, "cpu"), before)
    gpu.load_state_dict(host.state_dict())
    host.update(data(2, "cpu"), 2)
    gpu.update(data(2, "cuda"), 2)
    state = host.state_dict()
    for key, value in gpu.state_dict().items():
        torch.testing.assert_close(value.cpu(), state[key], rtol=1e-3, atol=1e-4, msg=key)
