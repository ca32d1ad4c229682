from dataclasses import replace

import numpy as np
import pytest

from embodied.errors import UserError
from rewards.constant import ConstantReward
from rewards.success import SuccessReward


def test_constant(make_transitions):
    score = ConstantReward(-1.5).score(make_transitions(4))
    np.testing.assert_array_equal(score.total, np.full(4, -1.5, np.float32))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_constant_is_finite(value):
    with pytest.raises(UserError, match="not finite"):
        ConstantReward(value)


def test_success_is_the_stored_column(make_transitions):
    batch = make_transitions(30)
    score = SuccessReward().score(batch)
    np.testing.assert_array_equal(score.total, batch.columns["success"].astype(np.float32))
    assert 0 < score.total.sum() < 30


def test_success_needs_the_column(make_transitions):
    batch = make_transitions(4)
    with pytest.raises(UserError, match="no success column"):
        SuccessReward().score(replace(batch, columns={}))
    with pytest.raises(UserError, match="shape"):
        SuccessReward().score(replace(batch, columns={"success": np.zeros((4, 1), bool)}))
