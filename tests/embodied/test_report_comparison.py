"""The page of a comparison, on made-up scores."""

import sys
from functools import partial

import numpy as np
import pytest

from embodied.comparison import pairs_of, profile_of, statistics_of
from embodied.profiles import stratified_interval
from embodied.report.comparison import render


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    few = partial(stratified_interval, resamples=100)
    monkeypatch.setattr("embodied.comparison.stratified_interval", few)


def made_up(names, metric="success"):
    rng = np.random.default_rng(0)
    scores = {name: rng.uniform(0.2, 0.9, 4) for name in names}
    return {
        "schema_version": 1,
        "task": "push",
        "metric": metric,
        "alpha": 0.05,
        "rows": {
            key: {**statistics_of(item, np.array([0.1, 0.9]), metric), "run": key}
            for key, item in scores.items()
        },
        "pairs": pairs_of(scores, 0.05),
        "profile": profile_of(scores, metric),
        "notes": ["a note"],
    }


@pytest.mark.parametrize("metric", ["success", "return", "score"])
def test_the_page_shows_every_run_pair_and_chart(metric):
    result = made_up(["first", "second", "third"], metric)
    page = render(result, {"python": "3"})
    assert page.count("<figure>") == 3
    assert all(
        f"{letter} {name}" in page for letter, name in zip("ABC", result["rows"], strict=True)
    )
    assert all(text in page for text in ("A over B", "A over C", "B over C", "a note"))
    assert ("short of the best" in page) == (metric != "return")
    assert page == render(result, {"python": "3"})


def test_the_page_loads_nothing_and_text_from_outside_stays_inert():
    page = render(made_up(["<script>alert(1)</script>", '"><img src=x>']), {"x": "<b>"})
    assert "<script" not in page
    assert "<img" not in page
    assert "<b>" not in page
    assert "default-src 'none'" in page
    assert not [word for word in ("http://", "https://") if word in page.replace("www.w3.org", "")]


def test_without_matplotlib_the_tables_remain(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr("embodied.report.charts.find_spec", lambda name: None)
    page = render(made_up(["first", "second"]), {})
    assert "<figure>" not in page
    assert "Charts need matplotlib" in page
    assert page.count("<table>") == 2
