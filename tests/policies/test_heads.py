"""Activations and heads: known answers, and packages that act as their formulas say."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embodied.engine.data import Normaliser
from embodied.errors import UserError
from embodied.files import read_json
from policies.heads import ACTIVATIONS, FREE_LOG_STD, LOG_STD_RANGE, unit_action
from policies.package import KEYS, PackagedPolicy, load_package, make, save

O, A, HIDDEN = 4, 2, 8  # noqa: E741
LOW, HIGH = np.array([-0.15, 2.0], np.float32), np.array([0.15, 5.0], np.float32)
X = np.random.default_rng(2).normal(size=(5, O)).astype(np.float32)
TORCH = {"relu": torch.relu, "tanh": torch.tanh}


def packaged(head, activation="relu"):
    rng = np.random.default_rng(0)
    last = 2 * A if head == "squashed" else A
    sizes = ((O, HIDDEN), (HIDDEN, last))
    weights = {}
    for i, size in enumerate(sizes):
        weights[f"actor.{i}.weight"] = rng.normal(0, 0.7, size).astype(np.float32)
        weights[f"actor.{i}.bias"] = rng.normal(0, 0.3, size[1]).astype(np.float32)
    if head in FREE_LOG_STD:
        weights["actor.log_std"] = np.array([-1.0, -2.0], np.float32)
    normaliser = Normaliser(np.zeros(O, np.float32), np.ones(O, np.float32), LOW, HIGH)
    return make(weights, normaliser, {"head": head, "activation": activation})


def unit(action):
    return 2.0 * (action - LOW) / (HIGH - LOW) - 1.0


def output(policy, x, activation):
    """The last layer's output, by torch."""
    w = {key: torch.tensor(value) for key, value in policy.weights.items()}
    hidden = TORCH[activation](torch.tensor(x) @ w["actor.0.weight"] + w["actor.0.bias"])
    return hidden @ w["actor.1.weight"] + w["actor.1.bias"]


MEANS = {
    "gaussian": torch.tanh,
    "deterministic": torch.tanh,
    "squashed": lambda out: torch.tanh(out[:, :A]),
    "clipped": lambda out: out.clamp(-1, 1),
}


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("head", LOG_STD_RANGE)
def test_the_deterministic_action_is_the_heads_formula(head, activation):
    policy = packaged(head, activation)
    x = np.random.default_rng(1).normal(size=(50, O)).astype(np.float32)
    expected = MEANS[head](output(policy, x, activation)).numpy()
    found, _ = policy.predict(x, deterministic=True)
    assert found.shape == (50, A)
    np.testing.assert_allclose(unit(found), expected, atol=2e-6)
    single, _ = policy.predict(x[3], deterministic=True)
    np.testing.assert_allclose(single, found[3], atol=1e-6)


def test_known_actions():
    out = np.array([0.5, -3.0, 0.0, -1.0], np.float32)
    noise, log_std = np.array([1.0, 2.0], np.float32), np.array([-1.0, 0.0], np.float32)
    one = math.exp(-1.0)
    cases = [
        ("gaussian", out[:2], None, [math.tanh(0.5), math.tanh(-3.0)]),
        ("gaussian", out[:2], noise, [math.tanh(0.5) + one, 1.0]),
        ("deterministic", out[:2], noise, [math.tanh(0.5), math.tanh(-3.0)]),
        ("clipped", out[:2], None, [0.5, -1.0]),
        ("clipped", out[:2], noise, [0.5 + one, -1.0]),
        ("squashed", out, None, [math.tanh(0.5), math.tanh(-3.0)]),
        ("squashed", out, noise, [math.tanh(1.5), math.tanh(-3.0 + 2 * one)]),
    ]
    for head, values, drawn, expected in cases:
        np.testing.assert_allclose(
            unit_action(head, values, log_std, drawn), expected, atol=1e-6, err_msg=head
        )


def test_the_squashed_log_std_is_clipped():
    out, noise = np.array([0.0, 0.0, 9.0, -90.0], np.float32), np.ones(2, np.float32)
    expected = [math.tanh(math.exp(2.0)), math.tanh(math.exp(-20.0))]
    np.testing.assert_allclose(unit_action("squashed", out, None, noise), expected, rtol=1e-6)


@pytest.mark.parametrize("head", LOG_STD_RANGE)
@settings(max_examples=60, deadline=None)
@given(
    x=st.lists(st.floats(-1e6, 1e6, width=32), min_size=O, max_size=O),
    deterministic=st.booleans(),
    log_std=st.floats(-1e6, 1e6, width=32),
)
def test_actions_never_leave_their_bounds(head, x, deterministic, log_std):
    policy = packaged(head)
    if head in FREE_LOG_STD:
        weights = policy.weights | {"actor.log_std": np.full(A, log_std, np.float32)}
        policy = PackagedPolicy(weights, policy.description)
    found, _ = policy.predict(x, deterministic=deterministic)
    assert (found >= LOW).all()
    assert (found <= HIGH).all()


@pytest.mark.parametrize("head", ["clipped", "squashed", "gaussian"])
def test_samples_spread_around_the_mean(head):
    policy = packaged(head)
    x = np.repeat(np.full((1, O), 0.1, np.float32), 4000, axis=0)
    samples = unit(policy.predict(x)[0])
    mean = unit(policy.predict(x[0], deterministic=True)[0])
    assert (samples.std(0) > 0.02).all()
    np.testing.assert_allclose(np.median(samples, 0), mean, atol=0.06)


def test_the_deterministic_head_draws_nothing():
    policy, x = packaged("deterministic"), np.ones((3, O), np.float32)
    np.testing.assert_array_equal(policy.predict(x)[0], policy.predict(x, deterministic=True)[0])


def stored(policy, folder):
    """Save a policy whose description has all that a package needs."""
    rest = dict.fromkeys(set(KEYS) - set(policy.description))
    policy.description |= rest | {"environment": {}, "control_hz": 10.0}
    policy.description["action"]["unit"] = "rad"
    save(folder, policy)
    return folder


def rewrite(folder, values, without=()):
    path = folder / "policy.json"
    kept = {key: value for key, value in read_json(path).items() if key not in without}
    path.write_text(json.dumps(kept | values))


@pytest.mark.parametrize("head", LOG_STD_RANGE)
def test_a_package_of_every_head_is_stored_and_read(head, tmp_path):
    policy = packaged(head, "tanh")
    loaded = load_package(stored(policy, tmp_path / "0"))
    found, _ = loaded.predict(X, deterministic=True)
    np.testing.assert_array_equal(found, policy.predict(X, deterministic=True)[0])


def test_a_package_of_version_1_acts_as_before(tmp_path):
    """It names neither head nor activation; whatever stands in their place is not looked at."""
    policy = packaged("gaussian", "relu")
    folder = stored(policy, tmp_path / "0")
    rewrite(folder, {"schema_version": 1}, without=("head", "activation"))
    for _ in range(2):
        found, _ = load_package(folder).predict(X, deterministic=True)
        np.testing.assert_array_equal(found, policy.predict(X, deterministic=True)[0])
        rewrite(folder, {"head": "squashed"})


@pytest.mark.parametrize("head", ["square", ["gaussian"], None, "squashed"])
def test_a_head_that_does_not_fit_is_refused(head, tmp_path):
    folder = stored(packaged("gaussian"), tmp_path / "0")
    rewrite(folder, {"head": head})
    with pytest.raises(UserError, match="damaged"):
        load_package(folder)


@pytest.mark.parametrize("activation", ["sine", ["relu"], None])
def test_an_unknown_activation_is_refused(activation, tmp_path):
    folder = stored(packaged("gaussian"), tmp_path / "0")
    rewrite(folder, {"activation": activation})
    with pytest.raises(UserError, match=r"damaged.*activation"):
        load_package(folder)


@pytest.mark.parametrize("head", FREE_LOG_STD)
def test_a_head_without_its_log_std_is_refused(head):
    policy = packaged(head)
    weights = {key: value for key, value in policy.weights.items() if "log_std" not in key}
    with pytest.raises(KeyError, match="log_std"):
        PackagedPolicy(weights, policy.description)


def test_an_odd_last_layer_is_no_squashed_head():
    policy = packaged("squashed")
    weights = policy.weights | {
        "actor.1.weight": np.zeros((HIDDEN, 3), np.float32),
        "actor.1.bias": np.zeros(3, np.float32),
    }
    with pytest.raises(ValueError, match="last layer"):
        PackagedPolicy(weights, policy.description)
