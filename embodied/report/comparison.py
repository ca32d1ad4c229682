"""The page of a comparison: interval plots, performance profiles and probabilities of improvement.

It has the report's style, and like the report it runs no script and loads nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from embodied.comparison import decision, letters_of
from embodied.files import write_text
from embodied.report import charts
from embodied.report.content import Arm, Estimate, Row
from embodied.report.reading import SUCCESS, Measure
from embodied.report.text import ABSENT, escape, number, pairs, percent

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_NO_CHARTS = "Charts need matplotlib: pip install 'embodied-stack[report]', then compare again."
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
    style = files("embodied.report").joinpath("style.css").read_text(encoding="utf-8")
    title = escape(f"{result['task']}: {len(result['rows'])} runs compared by {result['metric']}")
    notes = "".join(f"<li>{escape(note)}</li>" for note in result["notes"])
    read = "".join(f"<p>{escape(text)}</p>" for text in _HOW_TO_READ)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
<header>
<p class="eyebrow">Comparison of runs</p>
<h1>{title}</h1>
{f'<ul class="notes soft">{notes}</ul>' if notes else ""}
</header>
<section><h2>Runs</h2>{_runs(result)}</section>
<section><h2>Pairs</h2>{_pairs(result)}</section>
<section><h2>How to read this</h2>{read}</section>
</main>
<footer>
<details><summary>Versions, machine and commit</summary>
{pairs(manifest)}
<p>result.json, schema version {escape(result["schema_version"])}</p>
</details>
</footer>
</body>
</html>
"""


def _measure(metric: str) -> Measure:
    return SUCCESS if metric == "success" else Measure(metric, number, lambda row: row.returns)


def _runs(result: Mapping[str, Any]) -> str:
    what, letters = _measure(result["metric"]), letters_of(result)
    names = {name: f"{letter} {name}" for name, letter in letters.items()}
    drawn = _NO_CHARTS
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
            + _figure(what.name.capitalize(), charts.intervals(plotted, what, label))
            + _figure("Share of training seeds above a threshold", _profile(result, what))
            + '</div><p class="soft">Dot: mean. Bar and shade: 95% interval. Ticks: training '
            "seeds.</p>"
        )
    gap = any("optimality_gap" in row for row in result["rows"].values())
    heads = ["mean", "95% interval", "middle half", "95% interval", "median"]
    rows = {}
    for name, row in result["rows"].items():
        cells = [what.show(row["mean"]), _ends(row["ci95"], what)]
        cells += [what.show(row["iqm"]), _ends(row["iqm_ci95"], what), what.show(row["median"])]
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
            + _figure(
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
            _ends(pair["ci95"], SUCCESS),
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


def _profile(result: Mapping[str, Any], what: Measure) -> str:
    profile = result["profile"]
    label = f"share of training seeds above each {what.name}"
    with charts._axes(charts.MEDIUM, label) as (axes, svg):
        for style, row in enumerate(profile["rows"].values()):
            colour, thresholds = charts._SERIES[style % charts.STYLES], profile["thresholds"]
            axes.fill_between(thresholds, row["low"], row["high"], color=colour, alpha=0.12, lw=0)
            line = {"color": colour, "ls": charts._dash(style), "linewidth": 2}
            axes.plot(thresholds, row["fraction"], **line)
        axes.grid(axis="y", color=charts._GRID, linewidth=0.8)
        axes.set_xlabel(what.name)
        charts._percent(axes.yaxis, axes.set_ylim)
        if what is SUCCESS:
            charts._percent(axes.xaxis, axes.set_xlim)
    return svg()


def _ends(ends: Sequence[float], what: Measure) -> str:
    return f"{what.show(ends[0])} to {what.show(ends[1])}"


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


def _figure(title: str, body: str) -> str:
    return f"<figure><figcaption>{escape(title)}</figcaption>{body}</figure>"
