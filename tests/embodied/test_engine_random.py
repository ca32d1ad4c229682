"""Counter-based random numbers: known answers, and that uses share none of them."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embodied.engine import random

WORD, LOW_63 = 2**64, 2**63 - 1
# The first outputs of SplitMix64 from the state 1234567, as published with its test vectors.
PUBLISHED = (
    6457827717110365317,
    3203168211198807973,
    9817491932198370423,
    4593380528125082431,
    16408922859458223821,
)


def mix(z):
    """SplitMix64's output function on Python's integers (Steele, Lea, Flood 2014)."""
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % WORD
    return z ^ (z >> 31)


def key_of(seed):
    return mix((seed * 0x9E3779B97F4A7C15 + 0x94D049BB133111EB) % WORD)


def bits_of(seed, update, place, stream):
    counter = (update * 16 + stream) * 2**32 + place
    return mix((key_of(seed) + counter * 0x9E3779B97F4A7C15) % WORD) & LOW_63


def test_the_numbers_are_splitmix64s():
    """Counters 1, 2, ... from a state are the generator's outputs one after the other."""
    found = random.bits(torch.tensor([1234567]), 0, 6, stream=0)[0, 1:]
    assert found.tolist() == [item & LOW_63 for item in PUBLISHED]
    assert [mix((1234567 + k * 0x9E3779B97F4A7C15) % WORD) for k in range(1, 6)] == [*PUBLISHED]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=3),
    st.integers(0, 2**27 - 1),
    st.integers(0, 15),
    st.integers(1, 5),
)
def test_every_number_is_that_of_pythons_integers(seeds, update, stream, count):
    found = random.bits(random.keys(seeds), update, count, stream)
    expected = [[bits_of(seed, update, i, stream) for i in range(count)] for seed in seeds]
    assert found.tolist() == expected
    assert random.keys(seeds).tolist() == [
        item - WORD if item >= 2**63 else item for item in map(key_of, seeds)
    ]


def test_a_block_of_updates_is_its_updates_and_a_stack_its_seeds():
    keys = random.keys([5, 0, 7])
    block = random.bits(keys, torch.arange(10, 14), 6)
    assert block.shape == (4, 3, 6)
    for k, update in enumerate(range(10, 14)):
        assert torch.equal(block[k], random.bits(keys, update, 6))
        assert torch.equal(block[k], random.bits(keys, torch.tensor(update), 6))
    assert torch.equal(block[:, 2], random.bits(random.keys([7]), torch.arange(10, 14), 6)[:, 0])
    assert torch.equal(block[..., :4], random.bits(keys, torch.arange(10, 14), 4))


def test_the_numbers_do_not_depend_on_the_device(device):
    keys = random.keys([3, 4], device)
    assert torch.equal(random.bits(keys, 9, 1000).cpu(), random.bits(random.keys([3, 4]), 9, 1000))
    uniform = random.uniform(keys, 9, (10, 100)).cpu()
    assert torch.equal(uniform, random.uniform(random.keys([3, 4]), 9, (10, 100)))
    torch.testing.assert_close(  # erfinv is rounded as each device does it
        random.normal(keys, 9, (10, 100)).cpu(), random.normal(random.keys([3, 4]), 9, (10, 100))
    )


# --- distributions ----------------------------------------------------------------------------


def test_the_ends_of_the_interval_are_never_reached(monkeypatch):
    extremes = torch.tensor([[0, LOW_63]])
    monkeypatch.setattr(random, "bits", lambda *_: extremes)
    found = random.uniform(torch.zeros(1), 0, (2,))[0].double()
    np.testing.assert_array_equal(found, [2.0**-24, 1.0 - 2.0**-24])
    normal = random.normal(torch.zeros(1), 0, (2,))[0]
    assert torch.isfinite(normal).all()
    assert normal[0].item() == pytest.approx(-normal[1].item())
    assert 5.0 < normal[1].item() < 6.0


def test_uniform_numbers_are_uniform():
    found = random.uniform(random.keys([1]), 3, (200, 1000)).flatten().numpy()
    assert found.dtype == np.float32
    assert 0.0 < found.min() < 1e-4 < 1 - 1e-4 < found.max() < 1.0
    counts = np.histogram(found, 100, (0.0, 1.0))[0]
    chi_square = ((counts - 2000.0) ** 2 / 2000.0).sum()
    assert 60 < chi_square < 150  # 99 degrees of freedom: beyond four deviations on either side


def test_normal_numbers_have_the_moments_and_the_tails_of_the_normal():
    found = random.normal(random.keys([1]), 3, (400, 500)).double().flatten()
    assert found.shape == (200_000,)
    moments = [(found**k).mean().item() for k in range(1, 5)]
    assert moments == pytest.approx([0.0, 1.0, 0.0, 3.0], abs=0.05)
    grid = torch.linspace(-3.5, 3.5, 29).double()
    share = (found[None] < grid[:, None]).double().mean(1)
    expected = [0.5 * math.erfc(-x / math.sqrt(2.0)) for x in grid.tolist()]
    np.testing.assert_allclose(share, expected, atol=0.005)


@pytest.mark.parametrize("size", [7, 100, 1000])
def test_minibatches_visit_every_transition_alike(size):
    drawn = random.bits(random.keys([0, 1]), torch.arange(500), 64) % size
    for s in range(2):
        expected = 500 * 64 / size
        counts = torch.bincount(drawn[:, s].flatten(), minlength=size).double()
        chi_square = ((counts - expected) ** 2 / expected).sum().item()
        assert abs(chi_square - (size - 1)) < 5 * math.sqrt(2 * (size - 1))


# --- independence -----------------------------------------------------------------------------


def correlations(rows):
    """The largest correlation between any two rows of uniform numbers."""
    found = np.corrcoef(np.asarray(rows, np.float64))
    return np.abs(found - np.eye(len(found))).max()


COUNT = 20_000  # the standard error of a correlation is 0.007


def test_neighbouring_seeds_are_independent():
    assert correlations(random.uniform(random.keys(range(20)), 0, (COUNT,))) < 0.035


def test_neighbouring_updates_are_independent():
    rows = [random.uniform(random.keys([0]), update, (COUNT,))[0] for update in range(20)]
    assert correlations(rows) < 0.035


def test_streams_and_positions_are_independent():
    rows = [random.uniform(random.keys([0]), 3, (COUNT + 9,), stream)[0] for stream in range(4)]
    shifted = [rows[0][lag : lag + COUNT] for lag in range(1, 10)]
    assert correlations([*(row[:COUNT] for row in rows), *shifted]) < 0.035


def test_no_number_is_used_twice():
    """All 63 bits differ between seeds, updates, streams and positions: 192,000 draws."""
    drawn = [
        random.bits(random.keys([0, 1, 2, 1000]), torch.arange(20), 800, stream)
        for stream in (random.INDEX, random.NOISE, random.UNIFORM)
    ]
    every = torch.stack(drawn).flatten()
    assert len(every.unique()) == len(every)


def test_the_noise_of_an_update_is_not_its_minibatch():
    key = random.keys([0])
    assert not torch.equal(random.uniform(key, 0, (9,)), random.uniform(key, 0, (9,), random.NOISE))
    noise = random.normal(key, 0, (9,))
    expected = torch.distributions.Normal(0, 1).icdf(random.uniform(key, 0, (9,), random.NOISE))
    torch.testing.assert_close(noise, expected)
