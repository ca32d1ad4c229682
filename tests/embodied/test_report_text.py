from __future__ import annotations

import html
import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embodied.report.content import MAX_POINTS, curves, rows, thin
from embodied.report.reading import comparison, headline
from embodied.report.sections import training
from embodied.report.text import duration, escape, highlight, number, percent, visible

TAG = re.compile("<[^>]*>")
KINDS = ("comment", "keyword", "number", "string")


def outcome(mean: float) -> dict[str, Any]:
    """Made-up success and return with an interval of 0.06 to either side."""
    one = {"mean": mean, "ci95": [mean - 0.06, mean + 0.06], "per_seed": [mean]}
    return {"success": one, "return": one}


@given(st.text(max_size=200))
def test_highlighting_keeps_the_source(source: str) -> None:
    marked = highlight(source)
    assert html.unescape(TAG.sub("", marked)) == visible(source)
    assert set(TAG.findall(marked)) <= {"</span>", *(f'<span class="{kind}">' for kind in KINDS)}
    assert marked.count("<span") == marked.count("</span>")


def test_highlighting_marks_the_kinds_of_tokens() -> None:
    marked = highlight("if x < 1.5:  # why\n    y = 'a' if None else f'{x}'\n")
    for kind, text in (("keyword", "if"), ("number", "1.5"), ("comment", "# why")):
        assert f'<span class="{kind}">{text}</span>' in marked
    assert '<span class="number">None</span>' in marked
    assert f'<span class="string">{html.escape(chr(39) + "a" + chr(39))}</span>' in marked
    assert "<span" not in highlight("def broken(:\n  '''")


@given(st.text())
def test_escaped_text_is_inert_and_can_be_encoded(text: str) -> None:
    written = escape(text)
    assert not set(written) & set("<>\"'")
    assert html.unescape(written) == visible(text)
    written.encode("utf-8")


def test_headline_names_the_best_control_and_what_the_intervals_allow() -> None:
    result = {**outcome(0.84), "controls": {"bc": outcome(0.58), "true_reward": outcome(0.87)}}
    figure, sentence = headline(rows(result)[0])
    assert figure == "84%"
    assert "against 87% for the best control (true reward)" in sentence
    assert "behaviour cloning with 58%: the policy's whole success interval lies above" in sentence
    policy, true_reward, bc = rows(result)[0]
    assert "overlap" in comparison(policy, true_reward)
    assert "lies below" in comparison(bc, policy)
    result["controls"] = {"bc": {"success": None, "return": outcome(0.9)["return"]}}
    policy, bc = rows(result)[0]
    assert "return intervals overlap" in comparison(policy, bc)


def test_curves_keep_gaps_and_seeds_apart() -> None:
    lines = [
        {"step": 1, "wall_s": 0.1, "bc/loss": [1.0, 3.0], "policy/loss": 5.0},
        {"step": 2, "wall_s": 0.2, "bc/loss": [None, 4.0], "policy/loss": [float("nan")]},
        {"step": 3, "wall_s": 0.3, "bc/loss": [2.0, float("inf")]},
    ]
    policy, bc = curves(lines)["loss"]
    assert policy.steps == [1.0, 2.0]
    assert policy.mean == pytest.approx([5.0, math.nan], nan_ok=True)
    assert bc.steps == [1.0, 2.0, 3.0]
    assert bc.mean == [2.0, 4.0, 2.0]
    assert list(curves([])) == []


def test_a_network_that_became_nan_is_a_gap_from_then_on() -> None:
    lines = [
        {"step": 1, "policy/loss": [1.0, 3.0], "bc/loss": [2.0, 2.0], "bc/note": "text"},
        {"step": 2, "policy/loss": [1.0, None], "bc/loss": [None, None], "bc/lost": [None, None]},
        {"step": 3, "policy/loss": [None, None], "bc/loss": [None, None], "bc/lost": None},
        {"step": 4, "policy/loss": [4.0, None], "bc/loss": [None, None]},
    ]
    assert list(curves(lines)) == ["loss"]
    policy, bc = curves(lines)["loss"]
    assert policy.steps == bc.steps == [1.0, 2.0, 3.0, 4.0]
    assert policy.seeds[0] == pytest.approx([1.0, 1.0, math.nan, 4.0], nan_ok=True)
    assert policy.seeds[1] == pytest.approx([3.0, *[math.nan] * 3], nan_ok=True)
    assert policy.mean == pytest.approx([2.0, 1.0, math.nan, 4.0], nan_ok=True)
    assert bc.mean == pytest.approx([2.0, *[math.nan] * 3], nan_ok=True)
    drawn = training(lines)
    assert drawn.count("<figure>") == 1
    assert "Policy ends at 4; Behaviour cloning ends at 2" in drawn
    assert not re.search(r' d="[^"]*nan', drawn, re.IGNORECASE)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=3 * MAX_POINTS))
def test_thinning_bounds_the_length_and_stays_within_the_values(values: list[float]) -> None:
    found = thin(values)
    assert len(found) <= MAX_POINTS
    assert min(values) - 1e-6 <= min(found) <= max(found) <= max(values) + 1e-6
    if len(values) <= MAX_POINTS:
        assert found == values


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.5, "0.5 s"), (59.96, "60 s"), (60, "1 min 0 s"), (7265, "2 h 1 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_numbers_and_rates() -> None:
    assert [percent(value) for value in (0.0, 0.8425, 1.0)] == ["0%", "84.2%", "100%"]
    assert [number(value) for value in (3, 12345.678, -0.012345, 1e20)] == [
        "3",
        "12,346",
        "-0.01235",
        "1e+20",
    ]
