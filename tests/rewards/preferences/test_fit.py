"""The ensemble: learns an order, resists wrong labels, knows ties, is the same every time."""

import numpy as np
import pytest
import torch

from embodied.errors import UserError
from rewards.gate.correlation import rank_correlation
from rewards.preferences.fit import FitConfig, fit
from rewards.preferences.networks import rewards
from rewards.preferences.pairs import uniform

SMALL = {"hidden": (32,), "learning_rate": 3e-3, "epochs": 60}


def problem(count=400, pairs=600, seed=0, wrong=0.0):
    """States in three dimensions whose value is minus the distance from a point."""
    rng = np.random.default_rng(seed)
    states = rng.normal(size=(count, 3)).astype(np.float32)
    value = -np.linalg.norm(states - [0.5, 0, 0], axis=1)
    chosen = uniform(rng, count, pairs)
    preference = (value[chosen[:, 0]] > value[chosen[:, 1]]).astype(np.float32)
    flipped = rng.random(pairs) < wrong
    return torch.from_numpy(states), chosen, np.where(flipped, 1 - preference, preference), value


def learnt(fitted, states):
    with torch.inference_mode():
        return rewards(fitted.weights, states).numpy()


def test_it_learns_the_order_and_stays_bounded():
    states, pairs, preference, value = problem()
    fitted = fit(states, pairs, preference, FitConfig(**SMALL))
    found = learnt(fitted, states)
    assert found.shape == (3, 400)
    assert np.abs(found).max() <= 1
    assert rank_correlation(found.mean(0), value) > 0.95
    assert fitted.held_out_accuracy > 0.9
    assert fitted.pairs + fitted.held_out_pairs == 600


def test_members_differ_and_the_seed_decides_them():
    states, pairs, preference, _ = problem(pairs=100)
    one, same, other = (
        fit(states, pairs, preference, FitConfig(**SMALL, seed=seed)) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(learnt(one, states), learnt(same, states))
    assert not np.allclose(learnt(one, states), learnt(other, states))
    found = learnt(one, states)
    assert not np.allclose(found[0], found[1])


def test_it_stops_where_the_held_out_pairs_are_explained_best():
    states, pairs, preference, _ = problem(count=300, pairs=150, wrong=0.3)
    config = FitConfig(hidden=(128, 128), learning_rate=1e-2, epochs=200, patience=8)
    fitted = fit(states, pairs, preference, config)
    assert fitted.epochs < 200
    assert fitted.epochs == len(fitted.curve)
    assert np.argmin(fitted.curve) == fitted.epochs - 1 - 8


@pytest.mark.parametrize("loss", ["absolute_error", "generalised_cross_entropy"])
def test_robust_losses_learn_from_labels_of_which_a_fifth_is_wrong(loss):
    states, pairs, preference, value = problem(pairs=1500, wrong=0.2)
    found = learnt(fit(states, pairs, preference, FitConfig(**SMALL, loss=loss)), states)
    assert rank_correlation(found.mean(0), value) > 0.85


@pytest.mark.parametrize("ties", ["drop", "half", "davidson"])
def test_ties_teach_or_are_left_out(ties):
    states, pairs, preference, value = problem(pairs=900)
    close = np.abs(value[pairs[:, 0]] - value[pairs[:, 1]]) < 0.3
    preference = np.where(close, 0.5, preference).astype(np.float32)
    fitted = fit(states, pairs, preference, FitConfig(**SMALL, ties=ties))
    used = fitted.pairs + fitted.held_out_pairs
    assert used == (900 - close.sum() if ties == "drop" else 900)
    assert rank_correlation(learnt(fitted, states).mean(0), value) > 0.9
    assert ("log_tie" in fitted.weights) == (ties == "davidson")


def test_labels_that_are_missing_are_left_out():
    states, pairs, preference, _ = problem(pairs=200)
    preference[::2] = np.nan
    fitted = fit(states, pairs, preference, FitConfig(**SMALL))
    assert fitted.pairs + fitted.held_out_pairs == 100


def test_it_learns_from_pictures():
    """Pictures of a bright square: the farther to the right, the better."""
    rng = np.random.default_rng(0)
    pictures = np.zeros((120, 3, 48, 48), np.uint8)
    place = rng.integers(0, 40, 120)
    for picture, column in zip(pictures, place, strict=True):
        picture[:, 20:28, column : column + 8] = 255
    pairs = uniform(rng, 120, 300)
    preference = (place[pairs[:, 0]] > place[pairs[:, 1]]).astype(np.float32)
    kept = place[pairs[:, 0]] != place[pairs[:, 1]]
    config = FitConfig(learning_rate=1e-3, epochs=25, batch_size=32)
    fitted = fit(torch.from_numpy(pictures), pairs[kept], preference[kept], config)
    with torch.inference_mode():
        found = rewards(fitted.weights, torch.from_numpy(pictures).float() / 255).mean(0).numpy()
    assert rank_correlation(found, place.astype(float)) > 0.9


def test_mistakes_are_told():
    states, pairs, preference, _ = problem(pairs=20)
    with pytest.raises(UserError, match="unknown loss"):
        fit(states, pairs, preference, FitConfig(loss="square"))
    with pytest.raises(UserError, match="unknown ties"):
        fit(states, pairs, preference, FitConfig(ties="keep"))
    with pytest.raises(UserError, match="too few"):
        fit(states, pairs[:2], preference[:2], FitConfig())
    with pytest.raises(UserError, match="too few"):
        fit(states, pairs, np.full(20, np.nan, np.float32), FitConfig())
