"""Policy packages: the NumPy copy acts as the torch actor does, and damage is told in one line."""

import json
import math
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save as save_bytes

from embodied.engine.data import Normaliser
from embodied.engine.networks import mlp
from embodied.errors import UserError
from embodied.files import sha256_bytes
from policies.actor import actor_weights
from policies.package import KEYS, PackagedPolicy, load_package, make, save

O, A, HIDDEN = 5, 3, (16, 8)  # noqa: E741
LOW, HIGH = [-0.15, -1.0, 0.2], [0.15, 1.0, 0.7]
DESCRIPTION = {
    "algorithm": "bc",
    "control_hz": 10.0,
    "environment": {"name": "push"},
    "seed": 0,
    "steps": 10,
    "instruction": None,
    "action": {"unit": "rad"},
    "data": "0" * 64,
    "reward": {"kind": "constant"},
}


def normaliser():
    rng = np.random.default_rng(0)
    numbers = (rng.normal(size=O), rng.uniform(0.5, 2.0, O), LOW, HIGH)
    return Normaliser(*(np.asarray(item, np.float32) for item in numbers))


def torch_actor():
    """A stack of one actor with biases and log-std away from their initial zeros."""
    weights = actor_weights(O, A, HIDDEN, [torch.Generator().manual_seed(0)])
    generator = torch.Generator().manual_seed(1)
    for key, value in weights.items():
        if not key.endswith("weight"):
            value.copy_(0.5 * torch.randn(value.shape, generator=generator))
    return weights


@pytest.fixture(scope="module", name="policy")
def _policy():
    actor = {key: value[0].numpy() for key, value in torch_actor().items()}
    return make(actor, normaliser(), DESCRIPTION)


@pytest.fixture(scope="module", name="stored")
def _stored(policy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("package") / "0"
    save(folder, policy)
    return folder


@pytest.fixture(name="package")
def _package(stored, tmp_path):
    return shutil.copytree(stored, tmp_path / "0")


def observations(rows=64):
    return np.random.default_rng(3).normal(size=(rows, O)).astype(np.float32)


def test_predict_is_the_torch_actor(policy):
    n, x = normaliser(), observations()
    mean = torch.tanh(mlp(torch_actor(), "actor", torch.tensor((x - n.mean) / n.std)[None]))[0]
    expected = n.low + (mean.numpy() + 1.0) / 2.0 * (n.high - n.low)
    found, state = policy.predict(x, deterministic=True)
    assert found.dtype == np.float32
    assert state is None
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_one_observation_is_a_row_of_the_batch(policy):
    batch, _ = policy.predict(observations(), deterministic=True)
    single, _ = policy.predict(observations()[7], deterministic=True)
    assert single.shape == (A,)
    np.testing.assert_allclose(single, batch[7], rtol=1e-5, atol=1e-6)


def test_samples_are_gaussian_around_the_mean_with_the_learnt_width(policy):
    """In units of (-1, 1); a dimension is looked at only where the clipping hardly matters."""
    x, n = np.repeat(observations(1), 20_000, axis=0), normaliser()

    def unit(action):
        return 2.0 * (action - n.low) / (n.high - n.low) - 1.0

    weights = {**policy.weights, "actor.log_std": np.full(A, -2.0, np.float32)}
    narrow = PackagedPolicy(weights, policy.description)
    mean = unit(narrow.predict(x[:1], deterministic=True)[0][0])
    inside = np.abs(mean) < 0.5
    assert inside.any()
    samples = unit(narrow.predict(x)[0])
    np.testing.assert_allclose(samples.mean(0)[inside], mean[inside], atol=0.005)
    np.testing.assert_allclose(samples.std(0)[inside], math.exp(-2.0), rtol=0.03)


def test_samples_follow_their_seed(stored):
    x = observations()
    first, second = (load_package(stored, seed=1).predict(x)[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert (first != load_package(stored, seed=2).predict(x)[0]).any()
    repeated = load_package(stored, seed=1)
    repeated.predict(x)
    assert (repeated.predict(x)[0] != first).any(), "the noise moves on"


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=O, max_size=O),
    st.booleans(),
    st.tuples(*[st.tuples(st.floats(-50, 50, width=32), st.floats(0.125, 50, width=32))] * A),
)
def test_actions_never_leave_their_bounds(policy, observation, deterministic, ranges):
    low = np.array([item[0] for item in ranges], np.float32)
    high = low + np.array([item[1] for item in ranges], np.float32)
    action = {"low": low.tolist(), "high": high.tolist()}
    bounded = PackagedPolicy(policy.weights, {**policy.description, "action": action})
    found, _ = bounded.predict(observation, deterministic=deterministic)
    assert (low <= found).all()
    assert (found <= high).all()


def test_a_saturated_action_stays_inside_despite_rounding(policy):
    """Some of a thousand ranges round ``low + (high - low)`` to just above ``high``."""
    rng = np.random.default_rng(0)
    low = rng.uniform(-1.0, 0.0, 999).astype(np.float32)
    high = rng.uniform(0.1, 1.0, 999).astype(np.float32)
    assert (low + (high - low) > high).any()
    bias = policy.weights["actor.2.bias"] + 1e3
    weights = policy.weights | {"actor.2.bias": bias}
    for first in range(0, 999, A):
        here = slice(first, first + A)
        action = {"low": low[here].tolist(), "high": high[here].tolist()}
        bounded = PackagedPolicy(weights, {**policy.description, "action": action})
        found, _ = bounded.predict(np.zeros(O), deterministic=True)
        assert (found <= high[here]).all()


@pytest.mark.parametrize("shape", [(O + 1,), (4, O - 1), (2, 4, O), ()])
def test_another_observation_size_is_refused(policy, shape):
    with pytest.raises(UserError, match="observations of size 5"):
        policy.predict(np.zeros(shape))


# --- stored and damaged -------------------------------------------------------------------------


def rewrite(package, change):
    """Change the JSON of a package in place."""
    path = package / "policy.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def put_weights(package, weights):
    """Replace the weights, the hash adjusted, as somebody who forges a package would."""
    content = weights if isinstance(weights, bytes) else save_bytes(weights)
    (package / "policy.safetensors").write_bytes(content)
    rewrite(package, lambda values: values.update(weights_sha256=sha256_bytes(content)))


def assert_refused(package, match):
    with pytest.raises(UserError, match=match) as caught:
        load_package(package)
    assert "\n" not in str(caught.value)


def test_a_stored_package_acts_as_the_one_in_memory(policy, stored):
    loaded = load_package(stored)
    expected, _ = policy.predict(observations(), deterministic=True)
    np.testing.assert_array_equal(loaded.predict(observations(), deterministic=True)[0], expected)
    assert loaded.description["schema_version"] == 2


def test_an_existing_package_is_not_replaced(policy, package):
    before = (package / "policy.json").read_bytes()
    with pytest.raises(UserError, match="exists already"):
        save(package, policy)
    assert (package / "policy.json").read_bytes() == before


@pytest.mark.parametrize("name", ["policy.json", "policy.safetensors"])
def test_a_missing_file_is_refused(package, name):
    (package / name).unlink()
    assert_refused(package, "missing")


def test_a_flipped_bit_is_refused(package):
    path = package / "policy.safetensors"
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)
    assert_refused(package, "not the file that policy.json names")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"schema_version": 1}', "\xff"])
def test_a_broken_description_is_refused(package, text):
    (package / "policy.json").write_bytes(text.encode("latin-1"))
    assert_refused(package, "policy.json")


def test_another_version_is_refused(package):
    rewrite(package, lambda values: values.update(schema_version=3))
    assert_refused(package, "version 3")


@pytest.mark.parametrize("key", KEYS)
def test_a_description_without_a_key_is_refused(package, key):
    rewrite(package, lambda values: values.pop(key))
    assert_refused(package, f"lacks {key}")


BAD_VALUES = {
    "observation size": {"observation_size": O + 1},
    "hidden as text": {"hidden": "16"},
    "other hidden": {"hidden": [16, 9]},
    "no mapping": {"normalisation": [1.0]},
    "mean missing": {"normalisation": {"std": [1.0] * O}},
    "mean too short": {"normalisation": {"mean": [0.0], "std": [1.0]}},
    "mean as matrix": {"normalisation": {"mean": [[0.0]] * O, "std": [1.0] * O}},
    "mean a number": {"normalisation": {"mean": 0.0, "std": 1.0}},
    "mean text": {"normalisation": {"mean": ["x"] * O, "std": [1.0] * O}},
    "mean NaN": {"normalisation": {"mean": [math.nan] * O, "std": [1.0] * O}},
    "mean beyond float": {"normalisation": {"mean": [10**400] * O, "std": [1.0] * O}},
    "std infinite": {"normalisation": {"mean": [0.0] * O, "std": [math.inf] * O}},
    "std zero": {"normalisation": {"mean": [0.0] * O, "std": [0.0] * O}},
    "std too short": {"normalisation": {"mean": [0.0] * O, "std": [1.0]}},
    "low above high": {"action": {"unit": "rad", "low": HIGH, "high": LOW}},
    "one bound": {"action": {"unit": "rad", "low": [-1.0], "high": [1.0]}},
    "bounds null": {"action": {"unit": "rad", "low": None, "high": None}},
    "no unit": {"action": {"low": LOW, "high": HIGH}},
    "action a list": {"action": [LOW, HIGH]},
    "rate text": {"control_hz": "10"},
    "rate NaN": {"control_hz": math.nan},
    "environment a list": {"environment": ["push"]},
}


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("values", BAD_VALUES.values(), ids=BAD_VALUES)
def test_a_description_that_does_not_fit_is_refused(package, values):
    rewrite(package, lambda found: found.update(values))
    assert_refused(package, "damaged")


BAD_WEIGHTS = {
    "no layers": lambda w: {"actor.log_std": w["actor.log_std"]},
    "no log-std": lambda w: {k: v for k, v in w.items() if "log_std" not in k},
    "no bias": lambda w: {k: v for k, v in w.items() if k != "actor.1.bias"},
    "a layer missing": lambda w: {k: v for k, v in w.items() if "actor.1" not in k},
    "layers do not chain": lambda w: w | {"actor.1.weight": np.zeros((15, 8), np.float32)},
    "bias too long": lambda w: w | {"actor.1.bias": np.zeros(9, np.float32)},
    "bias as matrix": lambda w: w | {"actor.1.bias": np.zeros((8, 8), np.float32)},
    "a weight of one axis": lambda w: w | {"actor.0.weight": np.zeros(16, np.float32)},
    "log-std too long": lambda w: w | {"actor.log_std": np.zeros(A + 1, np.float32)},
    "NaN": lambda w: w | {"actor.0.bias": np.full(16, np.nan, np.float32)},
    "integers": lambda w: w | {"actor.0.bias": np.zeros(16, np.int32)},
}


@pytest.mark.parametrize("change", BAD_WEIGHTS.values(), ids=BAD_WEIGHTS)
def test_weights_that_do_not_fit_are_refused(policy, package, change):
    put_weights(package, change(dict(policy.weights)))
    assert_refused(package, "damaged")


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_hostile_bytes_end_in_a_user_error_or_a_sound_policy(stored, tmp_path_factory, data):
    """The hash is adjusted each time, so that the reader itself meets the bytes."""
    package = shutil.copytree(stored, tmp_path_factory.mktemp("hostile") / "0")
    content = bytearray((package / "policy.safetensors").read_bytes())
    if data.draw(st.booleans()):
        content = bytearray(data.draw(st.binary(max_size=200)))
    else:
        header = int.from_bytes(content[:8], "little") + 8
        places = st.integers(0, data.draw(st.sampled_from([header, len(content)])) - 1)
        for place in data.draw(st.lists(places, min_size=1, max_size=8)):
            content[place] = data.draw(st.integers(0, 255))
        content = content[: data.draw(st.integers(0, len(content)))]
    put_weights(package, bytes(content))
    try:
        loaded = load_package(package)
    except UserError:
        return
    action, _ = loaded.predict(np.zeros(O), deterministic=True)
    assert (np.array(LOW, np.float32) <= action).all()
    assert (action <= np.array(HIGH, np.float32)).all()
