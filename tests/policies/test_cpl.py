"""Contrastive preference learning: minibatches, losses by a loop over pairs, its two phases.

What every learner keeps to is held by ``tests/contracts/test_learner.py``.
"""

import numpy as np
import pytest
import torch

from embodied.engine import random
from embodied.engine.data import Normaliser, OfflineData, RewardColumn
from embodied.engine.pairs import ChosenData, PairData
from embodied.engine.stream import StreamedData
from embodied.errors import UserError
from embodied.preferences import PreferencePairs
from policies.cpl import (
    CPL,
    CPLConfig,
    cloning_loss,
    contrastive_loss,
    log_likelihood,
    segment_score,
)

SMALL = {"hidden": (12, 10), "batch_size": 24, "learning_rate": 1e-3}


def pair_table(first, second, length, preference):
    columns = (np.asarray(item, np.int64) for item in (first, second, length))
    return PreferencePairs(*columns, np.asarray(preference, np.float32))


@pytest.fixture(name="data")
def _data(random_source):
    """Two datasets that seeds take in turn, with pairs of segments of one to four transitions."""
    sources = [random_source((6, 9, 5, 12), seed=0), random_source((7, 5, 8), seed=1)]
    normalisers = [Normaliser.fit(item, [-1.5, -1.0], [1.0, 2.0]) for item in sources]
    tables = [
        pair_table([0, 6, 15, 28, 1], [7, 20, 2, 9, 26], [4, 3, 4, 1, 2], [1, 0, 0.5, 1, 0.3]),
        pair_table([12, 0, 3], [1, 8, 16], [4, 2, 4], [0, 1, 1]),
    ]

    def make(count, device="cpu", tables=tables):
        rewards = [RewardColumn(np.zeros(len(item))) for item in sources]
        learners = [(s % 2, rewards[s % 2]) for s in range(count)]
        offline = OfflineData(sources, normalisers, learners, device)
        return PairData(offline, [tables[s % 2] for s in range(count)])

    make.sources, make.normalisers, make.tables = sources, normalisers, tables
    return make


# --- minibatches ------------------------------------------------------------------------------


def test_a_minibatch_holds_the_segments_that_its_random_numbers_point_at(data):
    bits = random.bits(random.keys([3, 5, 7]), torch.arange(2), 16)
    block = data(3).block(bits)
    assert block.observation.shape == (2, 3, 2, 16, 4, 5)
    assert block.action.shape == (2, 3, 2, 16, 4, 2)
    assert block.mask.shape == (2, 3, 16, 4)
    seen = set()
    for k, s, b in np.ndindex(2, 3, 16):
        source, norm, table = (
            item[s % 2] for item in (data.sources, data.normalisers, data.tables)
        )
        row = int(bits[k, s, b]) % len(table)
        length = table.length[row]
        assert block.preference[k, s, b] == table.preference[row]
        assert block.mask[k, s, b].tolist() == [float(t < length) for t in range(4)]
        for side, start in enumerate((table.first[row], table.second[row])):
            for t in range(length):
                i = start + t
                at = i + np.searchsorted(source.episode_starts, i, side="right") - 1
                observation = (source.observation[at] - norm.mean) / norm.std
                action = 2 * (source.action[i] - norm.low) / (norm.high - norm.low) - 1
                np.testing.assert_allclose(block.observation[k, s, side, b, t], observation, 1e-5)
                np.testing.assert_allclose(block.action[k, s, side, b, t], action, 1e-4, 1e-6)
            for values in (block.observation[k, s, side, b], block.action[k, s, side, b]):
                assert (values[length:] == values[length - 1]).all(), "the last one again"
        seen.add((s % 2, row))
    assert seen == {(0, i) for i in range(5)} | {(1, i) for i in range(3)}


def test_learners_may_have_other_pairs_of_the_same_data(data):
    own = [pair_table([0], [7], [2], [1]), pair_table([1], [9], [3], [0])]
    block = data(4, tables=own).block(torch.arange(6).view(1, 1, 6).expand(1, 4, 6))
    assert block.preference[0, :, 0].tolist() == [1, 0, 1, 0]
    assert block.mask[0, 0, 0].tolist() == [1, 1, 0]


def test_pairs_can_be_streamed(data):
    bits = [random.bits(random.keys([0, 1]), torch.arange(i, i + 2), 8) for i in range(3)]
    plain, rewards = data(2), [RewardColumn(np.zeros(len(item))) for item in data.sources]
    offline = OfflineData(data.sources, data.normalisers, list(enumerate(rewards)))
    streamed = PairData(StreamedData(offline, "cpu"), data.tables)
    for one, two in zip(plain.blocks(bits), streamed.blocks(bits), strict=True):
        assert all(torch.equal(*items) for items in zip(one, two, strict=True))


def test_chosen_data_give_no_other_transitions(data):
    rewards = [RewardColumn(np.arange(len(item), dtype=np.float32)) for item in data.sources]
    offline = OfflineData(data.sources, data.normalisers, [(0, rewards[0])] * 2)
    chosen = ChosenData(offline, [np.array([3, 4, 4]), np.arange(len(data.sources[0]))])
    bits = random.bits(random.keys([0, 0]), torch.arange(50), 32)
    (block,) = chosen.blocks([bits])
    values, counts = np.unique(block.reward[:, 0], return_counts=True)
    assert values.tolist() == [3, 4]
    assert counts[1] / counts.sum() == pytest.approx(2 / 3, abs=0.05), "one that comes twice"
    assert torch.equal(block.reward[:, 1], offline.block(bits).reward[:, 1]), "all of them"


def test_a_learner_without_any_transition_is_refused(data):
    offline = OfflineData(data.sources, data.normalisers, [(0, RewardColumn(np.zeros(32)))])
    with pytest.raises(UserError, match="no transition to learn from"):
        ChosenData(offline, [np.zeros(0, np.int64)])


# --- losses -----------------------------------------------------------------------------------


def plain_score(actor, batch, s, side, b, alpha, discount):
    """The score of one segment of one seed, a step at a time."""
    total = torch.zeros((), dtype=torch.float64)
    for t in range(int(batch.mask[s, b].sum())):
        x = batch.observation[s, side, b, t]
        for layer in range(3):
            x = torch.clamp(x, min=0.0) if layer else x
            x = x @ actor[f"actor.{layer}.weight"][s] + actor[f"actor.{layer}.bias"][s, 0]
        error = torch.tanh(x) - batch.action[s, side, b, t]
        total = total + discount**t * alpha * -(error * error).sum()
    return total


@pytest.mark.parametrize("bc_steps", [0, 50], ids=["contrast", "cloning"])
def test_an_update_is_the_one_of_a_loop_over_pairs(data, bc_steps):
    """Loss and Adam's first step, in float64; alpha, lambda and discount differ by seed."""
    alpha, bias, discount, rate = (0.1, 0.4), (0.5, 1.0), (1.0, 0.8), (1e-3, 3e-3)
    config = CPLConfig(
        (12, 10), 24, rate, alpha, conservative_bias=bias, discount=discount, bc_steps=bc_steps
    )
    learner = CPL(config, 5, 2, [3, 5], 100, dtype=torch.float64)
    batch = data(2).block(random.bits(random.keys([3, 5]), torch.arange(1), 24)).at(0)
    batch = batch.map(torch.Tensor.double)
    before = {key: item.detach().clone() for key, item in learner.actor.views.items()}
    metrics = learner.update(data(2), 1)
    for s in range(2):
        actor = {key: item.clone().requires_grad_() for key, item in before.items()}
        contrast, cloned, steps, right = 0.0, 0.0, 0, []
        for b in range(24):
            one, two = (plain_score(actor, batch, s, i, b, alpha[s], discount[s]) for i in (0, 1))
            p = batch.preference[s, b]
            contrast = contrast + p * torch.log1p(torch.exp(-(one - bias[s] * two))) / 24
            contrast = contrast + (1 - p) * torch.log1p(torch.exp(-(two - bias[s] * one))) / 24
            right += [bool((one > two) == (p > 0.5))] if p != 0.5 else []
            cloned = cloned - sum(plain_score(actor, batch, s, i, b, 1.0, 1.0) for i in (0, 1))
            steps += 2 * int(batch.mask[s, b].sum())
        cloned = cloned / steps
        found = [metrics[f"actor/{key}"][s] for key in ("contrast", "cloning", "accuracy")]
        expected = [contrast.detach(), cloned.detach(), torch.tensor(np.mean(right))]
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
        loss = cloned if bc_steps else contrast
        gradient = torch.autograd.grad(loss, list(actor.values()))
        for (key, value), g in zip(before.items(), gradient, strict=True):
            step = rate[s] * g[s] / (g[s].abs() + 1e-8)  # Adam's first
            torch.testing.assert_close(
                learner.actor.views[key][s].detach(), value[s] - step, rtol=1e-9, atol=1e-12
            )


def test_the_contrastive_loss_has_its_known_values():
    score = torch.tensor([[[-1.0], [-3.0]]], dtype=torch.float64)  # one pair: S+ = -1, S- = -3

    def loss(preference, bias):
        return float(contrastive_loss(score, torch.tensor([[preference]]), bias)[0])

    assert loss(1.0, 1.0) == pytest.approx(np.log1p(np.exp(-2.0)))
    assert loss(1.0, 0.5) == pytest.approx(np.log1p(np.exp(-(-1.0 + 1.5))))
    assert loss(0.0, 0.5) == pytest.approx(np.log1p(np.exp(-(-3.0 + 0.5))))
    for bias in (1.0, 0.5):
        assert loss(0.5, bias) == pytest.approx((loss(1.0, bias) + loss(0.0, bias)) / 2)
        assert loss(0.75, bias) == pytest.approx(0.75 * loss(1.0, bias) + 0.25 * loss(0.0, bias))


def test_with_a_bias_of_one_only_the_difference_counts_and_below_it_likely_pairs_cost_less():
    preference = torch.ones(1, 1)
    pair = torch.tensor([[[-1.0], [-3.0]]])
    near, far = (contrastive_loss(pair - shift, preference, 1.0)[0] for shift in (0.0, 10.0))
    torch.testing.assert_close(near, far)
    near, far = (contrastive_loss(pair - shift, preference, 0.5)[0] for shift in (0.0, 10.0))
    assert near < far


def test_a_tie_is_neither_right_nor_wrong():
    score = torch.tensor([[[-1.0, -1.0, -5.0, 0.0], [-3.0, -3.0, -2.0, -1.0]]])
    preference = torch.tensor([[1.0, 0.5, 0.0, 0.2]])
    accuracy = contrastive_loss(score, preference, 1.0)[1]["actor/accuracy"]
    assert accuracy.item() == pytest.approx(2 / 3)
    assert contrastive_loss(score, torch.full((1, 4), 0.5), 1.0)[1]["actor/accuracy"].item() == 0.0


def test_what_lies_behind_a_segments_end_counts_nothing(data):
    learner = CPL(CPLConfig(**SMALL), 5, 2, [0, 1], 10)
    batch = data(2).block(random.bits(random.keys([0, 1]), torch.arange(1), 24)).at(0)
    assert not batch.mask.all()
    behind = 1.0 - batch.mask[:, None, ..., None]
    other = batch._replace(
        observation=batch.observation + 7.0 * behind, action=batch.action - 7.0 * behind
    )

    def losses(item):
        log_pi = log_likelihood(learner.actor.views, item)
        score = segment_score(log_pi, item.mask, 0.1, 0.9)
        return [
            contrastive_loss(score, item.preference, 0.5)[0],
            cloning_loss(log_pi, item.mask)[0],
        ]

    torch.testing.assert_close(losses(batch), losses(other), rtol=1e-6, atol=0)


@pytest.mark.parametrize("preference", [1.0, 0.0])
def test_an_update_makes_the_preferred_segment_likelier_than_the_other(data, preference):
    tables = [pair_table([0], [20], [4], [preference]), pair_table([0], [8], [4], [preference])]
    learner = CPL(CPLConfig(**SMALL, bc_steps=0, conservative_bias=1.0), 5, 2, [0, 1], 10)
    pairs = data(2, tables=tables)
    batch = pairs.block(torch.zeros(1, 2, 1, dtype=torch.int64)).at(0)

    def likelihoods():
        return log_likelihood(learner.actor.views, batch).detach().sum(-1).squeeze(-1)

    before = likelihoods()
    learner.update(pairs, 5)
    gain = likelihoods() - before
    better, worse = gain.unbind(1) if preference else gain.flip(1).unbind(1)
    assert (better > worse).all()


# --- phases -----------------------------------------------------------------------------------


def test_cloning_comes_first_and_then_adam_begins_anew(data):
    """After it, a fresh learner with the cloned weights goes on to the same weights."""
    cloned = CPL(CPLConfig(**SMALL, bc_steps=5), 5, 2, [0, 1], 20)
    cloned.update(data(2), 5)
    state = cloned.state_dict()
    assert state["actor.step"] == 5
    assert state["actor.exp_avg"].any()
    anew = {key: torch.zeros_like(item) for key, item in state.items() if "exp" in key}
    anew |= {"actor.step": torch.zeros(())}
    other = CPL(CPLConfig(**SMALL, bc_steps=0), 5, 2, [0, 1], 20)
    other.load_state_dict({**state, **anew})
    cloned.update(data(2), 6)
    other.update(data(2), 6)
    assert cloned.state_dict()["actor.step"] == 6
    assert torch.equal(cloned.actor.flat, other.actor.flat)


@pytest.mark.parametrize(("given", "total", "found"), [(None, 500, 200), (None, 1, 0), (7, 9, 7)])
def test_two_fifths_of_the_run_are_cloning_unless_it_is_said(given, total, found):
    assert CPL(CPLConfig(bc_steps=given, hidden=(4,)), 5, 2, [0], total).bc_steps == found


@pytest.mark.parametrize("steps", [-1, 20, 21])
def test_cloning_that_leaves_nothing_for_the_preferences_is_refused(steps):
    with pytest.raises(UserError, match=f"policy.bc_steps is {steps} of 20 updates") as caught:
        CPL(CPLConfig(**SMALL, bc_steps=steps), 5, 2, [0], 20)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bias", [0.0, -0.5, 1.1, (0.5, 0.0), float("nan")])
def test_a_bias_out_of_its_range_is_refused(bias):
    with pytest.raises(UserError, match=r"policy\.conservative_bias") as caught:
        CPL(CPLConfig(**SMALL, conservative_bias=bias), 5, 2, [0, 1], 20)
    assert "\n" not in str(caught.value)
