"""The page of a comparison: interval plots, performance profiles and probabilities of improvement.

It has the report's style, and like the report it runs no script and loads nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from embodied.comparison import decision, letters_of
from embodied.files import write_text
from embodied.report import charts
from embodied.report.content import Arm, Estimate, Row
from embodied.report.document import document, figure, section
from embodied.report.reading import SUCCESS, Measure
from embodied.report.text import ABSENT, escape, number, percent, span

_HOW_TO_READ = (
    "The mean's 95% interval comes from a bootstrap over training seeds and evaluation episodes; "
    "every other interval from one over training seeds alone. The middle half is the mean of the "
    "seeds without the best and the worst quarter (inter-quartile mean).",
    "A performance profile shows the share of training seeds above each threshold: the higher the "
    "line, the better. Lines that cross mean that neither is better everywhere.",
    "The probability of improvement is how often a training seed of the first beats one of the "
    "second; a tie counts half. It says how reliably, not by how much.",
    "The test shuffles the training seeds between runs and looks how often the difference of means "
    "is as large as the real one. Its p-values are adjusted for all pairs, so the probability of "
    "any false decision on this page is at most the level. That two runs are not told apart does "
    "not make them equal.",
)


def write_comparison(path: Path, result: Mapping[str, Any], manifest: Mapping[str, Any]) -> None:
    """Write the page as one HTML file, atomically.

    Args:
        path: The HTML file.
        result: The comparison's ``result.json``; all text in it counts as coming from outside.
        manifest: Versions, machine and commit.
    """
    write_text(path, render(result, manifest))


def render(result: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    """Return the page as HTML."""
    sections = [
        section("Runs", _runs(result)),
        section("Pairs", _pairs(result)),
        section("How to read this", "".join(f"<p>{escape(text)}</p>" for text in _HOW_TO_READ)),
    ]
    title = f"{result['task']}: {len(result['rows'])} runs compared by {result['metric']}"
    return document("Comparison of runs", title, sections, result, manifest)


def _measure(metric: str) -> Measure:
    return SUCCESS if metric == "success" else Measure(metric, number, lambda row: row.returns)


def _runs(result: Mapping[str, Any]) -> str:
    what, letters = _measure(result["metric"]), letters_of(result)
    names = {name: f"{letter} {name}" for name, letter in letters.items()}
    drawn = f'<p class="soft">{charts.NEEDED}, then compare again.</p>'
    if charts.available():
        plotted = [
            _row(letters[name], style, item["mean"], item["ci95"], item["per_seed"])
            for style, (name, item) in enumerate(result["rows"].items())
        ]
        legend = charts.legend([(names[name], style) for style, name in enumerate(letters)])
        said = "; ".join(f"{names[n]} {what.show(r['mean'])}" for n, r in result["rows"].items())
        label = f"{what.name} of each run: {said}"
        drawn = (
            f'{legend}<div class="grid">'
            + figure(what.name.capitalize(), charts.intervals(plotted, what, label))
            + figure(
                "Share of training seeds above a threshold", _profiles(result["profile"], what)
            )
            + '</div><p class="soft">Dot: mean. Bar and shade: 95% interval. Ticks: training '
            "seeds.</p>"
        )
    gap = any("optimality_gap" in row for row in result["rows"].values())
    heads = ["mean", "95% interval", "middle half", "95% interval", "median"]
    rows = {}
    for name, row in result["rows"].items():
        cells = [what.show(row["mean"]), span(row["ci95"], what.show)]
        cells += [what.show(row["iqm"]), span(row["iqm_ci95"], what.show), what.show(row["median"])]
        cells += [what.show(row["optimality_gap"])] if gap else []
        rows[names[name]] = [*cells, ", ".join(what.show(item) for item in row["per_seed"])]
    return drawn + _table([*heads, *(["short of the best"] if gap else []), "each seed"], rows)


def _pairs(result: Mapping[str, Any]) -> str:
    what, letters = _measure(result["metric"]), letters_of(result)
    named = {
        f"{letters[pair['first']]} over {letters[pair['second']]}": pair for pair in result["pairs"]
    }
    drawn = ""
    if charts.available():
        # A probability is drawn as a success rate is: on an axis from 0 to 100%.
        plotted = [
            _row(name, 0, pair["probability_of_improvement"], pair["ci95"], ())
            for name, pair in named.items()
        ]
        said = "; ".join(
            f"{row.arm.label} {percent(row.success.mean)}" for row in plotted if row.success
        )
        drawn = (
            '<div class="grid">'
            + figure(
                "Probability of improvement",
                charts.intervals(plotted, SUCCESS, f"probability of improvement: {said}"),
            )
            + '</div><p class="soft">Dot: the share of won comparisons of two seeds. Bar: 95% '
            "interval.</p>"
        )
    rows = {
        name: [
            what.show(pair["difference"]),
            percent(pair["probability_of_improvement"]),
            span(pair["ci95"], percent),
            decision(pair, letters, result),
        ]
        for name, pair in named.items()
    }
    return drawn + _table(["difference", "improvement", "95% interval", "test"], rows)


def _row(
    label: str, style: int, mean: float, interval: Sequence[float], per_seed: Sequence[float]
) -> Row:
    estimate = Estimate(mean, (interval[0], interval[1]), tuple(per_seed))
    return Row(Arm(label, label, style % charts.STYLES), estimate, estimate)


def _profiles(profile: Mapping[str, Any], what: Measure) -> str:
    bands = list(profile["rows"].values())
    label = f"share of training seeds above each {what.name}"
    return charts.profiles(profile["thresholds"], bands, what, label)


def _table(heads: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = ""
    for name, cells in rows.items():
        body += f'<tr><th scope="row" style="font-weight:400">{escape(name)}</th>' + "".join(
            f'<td data-label="{escape(title)}">{escape(cell or ABSENT)}</td>'
            for title, cell in zip(heads, cells, strict=True)
        )
        body += "</tr>"
    return f"<table><thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table>"
