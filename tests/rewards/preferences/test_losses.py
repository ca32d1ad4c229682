"""Losses of preferences against plain formulas in float64, and what each is for."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rewards.preferences.losses import GCE_POWER, LOSSES, davidson

LOGITS = st.floats(-20, 20)
CHOICES = st.sampled_from((0.0, 0.5, 1.0))


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def plain(name, logit, preference):
    p = sigmoid(logit)
    if name == "bradley_terry":
        return -(preference * math.log(p) + (1 - preference) * math.log(1 - p))
    if name == "absolute_error":
        return abs(preference - p)
    parts = [(1 - q**GCE_POWER) / GCE_POWER for q in (p, 1 - p)]
    return preference * parts[0] + (1 - preference) * parts[1]


@pytest.mark.parametrize("name", list(LOSSES))
@given(logit=LOGITS, preference=CHOICES)
def test_known_answers(name, logit, preference):
    found = LOSSES[name](*(torch.tensor(x, dtype=torch.float64) for x in (logit, preference)))
    np.testing.assert_allclose(float(found), plain(name, logit, preference), rtol=1e-6, atol=1e-9)


@given(logit=LOGITS, log_tie=st.floats(-3, 3), preference=CHOICES)
def test_davidson_is_the_log_likelihood_of_three_outcomes(logit, log_tie, preference):
    weights = {1.0: math.exp(logit / 2), 0.0: math.exp(-logit / 2), 0.5: math.exp(log_tie)}
    wanted = -math.log(weights[preference] / sum(weights.values()))
    tensors = [torch.tensor([x], dtype=torch.float64) for x in (logit, preference, log_tie)]
    np.testing.assert_allclose(float(davidson(*tensors)[0]), wanted, rtol=1e-9, atol=1e-9)


def test_a_wrong_label_weighs_less_in_the_robust_losses():
    logit, wrong = torch.tensor(8.0, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64)
    weights = {name: float(loss(logit, wrong)) for name, loss in LOSSES.items()}
    assert weights["absolute_error"] < weights["generalised_cross_entropy"] < 2
    assert weights["bradley_terry"] > 7.9
