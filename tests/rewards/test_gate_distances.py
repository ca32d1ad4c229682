"""EPIC and STARC on rewards whose distance is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.code_reward import CodeReward
from rewards.constant import ConstantReward
from rewards.dialect import parse
from rewards.gate import bounds
from rewards.gate.distances import epic_distance, epic_form, starc_distance, starc_form
from tests.rewards.gate_programs import summed

TERMS = {
    "near": "-np.linalg.norm(next_state.cube_position - next_state.target_position, axis=-1)",
    "effort": "-0.3 * np.sum(np.abs(action), axis=-1)",
    "height": "0.5 * np.square(state.tip_position[:, 2])",
}
POTENTIAL = "3.0 * (0.99 * np.sum({}, axis=-1) - np.sum({}, axis=-1))"
SHAPING = POTENTIAL.format("np.abs(next_state.tip_position)", "np.abs(state.tip_position)")


@pytest.fixture(name="code")
def _code(fields, action):
    return lambda **terms: CodeReward(parse(summed(**terms), fields, action), {"kind": "file"})


DISTANCES = {"epic": (epic_form, epic_distance), "starc": (starc_form, starc_distance)}


@pytest.mark.parametrize("name", DISTANCES)
def test_distances_have_their_known_answers(name, code, make_transitions):
    form, distance = DISTANCES[name]
    batch = make_transitions(300)
    own = form(code(**TERMS), batch)

    def from_own(**terms):
        return distance(own, form(code(**terms), batch))

    assert from_own(**TERMS) == pytest.approx(0.0, abs=1e-6)
    scaled = {key: f"7.5 * ({term})" for key, term in TERMS.items()}
    assert from_own(**scaled) == pytest.approx(0.0, abs=0.01)
    assert from_own(**TERMS, offset="0.0 * action[:, 0] + 4.0") == pytest.approx(0.0, abs=0.01)
    assert from_own(**TERMS, shaping=SHAPING) == pytest.approx(0.0, abs=0.01)
    assert from_own(**scaled, shaping=SHAPING) == pytest.approx(0.0, abs=0.01)
    negated = {key: f"-({term})" for key, term in TERMS.items()}
    assert from_own(**negated) == pytest.approx(1.0, abs=0.01)
    assert from_own(**negated, shaping=SHAPING) == pytest.approx(1.0, abs=0.01)
    unrelated = from_own(other="next_state.grasp_force")
    assert 0.6 < unrelated < 0.8


def test_shaping_alone_says_nothing(code, make_transitions):
    batch = make_transitions(300)
    for form, _ in DISTANCES.values():
        assert not form(code(shaping=SHAPING), batch).any()
        assert not form(ConstantReward(2.0), batch).any()
    own, nothing = np.array([1.0, -2.0, 1.0]), np.zeros(3)
    assert epic_distance(own, nothing) == pytest.approx(np.sqrt(0.5))
    assert starc_distance(own, nothing) == 0.5
    assert starc_distance(nothing, nothing) == 0.0


@given(st.integers(0, 2**32 - 1))
def test_distances_of_forms_are_symmetric_and_bounded(seed):
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(2, 20)) * rng.lognormal(0, 3, (2, 1))
    for _, distance in DISTANCES.values():
        assert distance(first, second) == pytest.approx(distance(second, first))
        assert 0 <= distance(first, second) <= 1
        assert distance(first, 3 * first) == pytest.approx(0.0, abs=1e-6)


def test_a_distance_is_judged():
    assert [bounds.distance("EPIC", x).verdict for x in (0.3, 0.75, 0.95)] == [
        "pass",
        "warn",
        "fail",
    ]
