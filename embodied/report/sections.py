"""The sections of the page; each returns HTML, or "" where it has nothing to show."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from embodied.report import charts
from embodied.report.content import Arm, Curve, Estimate, ReportContent, Row, curves, numbers
from embodied.report.document import figure, section
from embodied.report.reading import MEANINGS, RETURN, SUCCESS, Measure, comparison
from embodied.report.text import ABSENT, escape, highlight, interval, number, pairs

VIDEO_BYTES = 4_000_000  # of all videos together; base64 adds a third, the page stays under 8 MB
MAX_PANELS = 12  # small charts of training metrics; the rest stays in metrics.jsonl


def outcome(table: Sequence[Row], absent: Sequence[Arm]) -> str:
    """Return the policy beside its controls, as charts and as a table."""
    measures = [what for what in (SUCCESS, RETURN) if any(what.of(row) for row in table)]
    if not measures:
        return ""
    if charts.available():
        drawn = [
            figure(
                what.name.capitalize(),
                charts.intervals(table, what, f"{what.name} of the policy and controls: {said}"),
            )
            for what in measures
            for said in ["; ".join(_said(row, what) for row in table if what.of(row))]
        ]
        body = f'<div class="grid">{"".join(drawn)}</div>'
        note = "Dot: mean. Bar: 95% interval. Ticks: the mean of each training seed."
    else:
        body, note = "", f"{charts.NEEDED}, then evaluate again."
    body += f'<p class="soft">{escape(note)}</p>' + _table(table, measures)
    if absent:
        names = ", ".join(item.label for item in absent)
        body += f'<p class="soft">Not run, or without numbers: {escape(names)}.</p>'
    return section("Policy and controls", body)


def _said(row: Row, what: Measure) -> str:
    value = what.of(row)
    if value is None:
        return row.arm.label
    return f"{row.arm.label} {what.show(value.mean)} ({interval(value, what.show)})"


def _table(table: Sequence[Row], measures: Sequence[Measure]) -> str:
    groups, heads = "", ""
    for what in measures:
        names = _columns(what)
        groups += f'<th scope="colgroup" colspan="{len(names)}">{what.name.capitalize()}</th>'
        heads += "".join(f'<th scope="col">{name}</th>' for name in names)
    lines = []
    for row in table:
        cells = "".join(
            f'<td class="{name.split()[-1]}" data-label="{what.name.capitalize()}, {name}">'
            f"{escape(text)}</td>"
            for what in measures
            for name, text in zip(_columns(what), _cells(row, what), strict=True)
        )
        dot = f'<span class="dot" style="background:var(--s{row.arm.style})"></span>'
        lines.append(f'<tr><th scope="row">{dot}{escape(row.arm.label)}</th>{cells}</tr>')
    return (
        f'<table><thead><tr><td rowspan="2"></td>{groups}</tr><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table>"
    )


def _columns(what: Measure) -> tuple[str, ...]:
    middle = ("middle half",) if what is RETURN else ()
    return ("mean", "95% interval", *middle, "each seed")


def _cells(row: Row, what: Measure) -> list[str]:
    value: Estimate | None = what.of(row)
    if value is None:
        return [ABSENT] * len(_columns(what))
    cells = [what.show(value.mean), interval(value, what.show)]
    if what is RETURN:
        cells.append(ABSENT if row.iqm is None else number(row.iqm))
    return [*cells, ", ".join(what.show(item) for item in value.per_seed) or ABSENT]


def training(metrics: Sequence[Mapping[str, Any]]) -> str:
    """Return the learning curves: evaluations first, then every other metric, small."""
    found = curves(metrics)
    if not found or not charts.available():
        return ""
    names = (key for key in found if key.startswith("evaluation/"))
    first = {key: found[key] for key in sorted(names, key=lambda key: ("success" not in key, key))}
    rest = {key: value for key, value in found.items() if key not in first}
    body = _legend(found.values()) + '<p class="soft">Thick: mean of the training seeds. '
    body += f"Thin: each seed, up to {charts.MAX_SEED_LINES}.</p>"
    if first:
        body += _panels(first, charts.MEDIUM, "grid")
    if rest:
        shown = dict(list(rest.items())[:MAX_PANELS])
        body += "<h3>Losses and other training metrics</h3>"
        body += _panels(shown, charts.SMALL, "grid three")
        if len(rest) > len(shown):
            body += f'<p class="soft">{len(rest) - len(shown)} more are in metrics.jsonl.</p>'
    return section("During training", body)


def _legend(groups: Iterable[Sequence[Curve]]) -> str:
    arms = {curve.arm for group in groups for curve in group}
    ordered = sorted(arms, key=lambda item: (item.style, item.key))
    return charts.legend([(item.label, item.style) for item in ordered])


def _panels(found: Mapping[str, list[Curve]], size: tuple[float, float], grid: str) -> str:
    drawn = []
    for metric, group in found.items():
        rate = metric == "evaluation/success"
        last = [
            f"{curve.arm.label} ends at {(SUCCESS if rate else RETURN).show(values[-1])}"
            for curve in group
            if (values := numbers(curve.mean))
        ]
        label = f"{metric} over the gradient steps: {'; '.join(last)}"
        name = metric.removeprefix("evaluation/")
        title = metric if name == metric else name.capitalize()
        drawn.append(figure(title, charts.learning(group, label, rate=rate, size=size)))
    return f'<div class="{grid}">{"".join(drawn)}</div>'


def reward(content: ReportContent) -> str:
    """Return where the reward came from, its code and its terms over an episode."""
    provenance = content.result.get("reward") or {}
    body = pairs(provenance) if provenance else ""
    if content.reward_source:
        body += f"<h3>Code</h3><pre><code>{highlight(content.reward_source)}</code></pre>"
    series = {key: _series(values) for key, values in (content.terms or {}).items()}
    drawn = ""
    if series and charts.available():
        names = charts.legend([(name, index) for index, name in enumerate(series)])
        label = f"terms of the reward over an episode: {', '.join(series)}"
        drawn += figure("Terms", charts.episode(series, label) + names)
    if content.total and charts.available():
        total = {"total": _series(content.total)}
        drawn += figure("Total", charts.episode(total, "total reward over an episode"))
    if drawn:
        caption = f'<p class="soft">{escape(content.terms_caption)}</p>'
        body += f'<h3>Over an episode</h3>{caption}<div class="grid">{drawn}</div>'
    return section("The reward", body) if body else ""


def _series(values: Sequence[Any]) -> list[float]:
    return [next(iter(numbers(value)), math.nan) for value in values]


def episodes(videos: Mapping[str, Path], missing: str) -> str:
    """Return the videos, inside the page, and in words why any is not there."""
    figures, notes, left = "", [missing] if missing else [], VIDEO_BYTES
    for name, path in videos.items():
        if not path.is_file():
            notes.append(f"The video of the {name} was not found beside the run.")
        elif path.stat().st_size > left:
            notes.append(f"The video of the {name} is too large for the page; see {path.name}.")
        else:
            content = path.read_bytes()
            left -= len(content)
            data = base64.b64encode(content).decode("ascii")
            title = f"A {name}" if name in ("success", "failure") else name
            figures += figure(
                title,
                '<video controls muted loop playsinline preload="auto" '
                f'aria-label="{escape(title)}" src="data:video/mp4;base64,{data}"></video>',
            )
    if not figures and not notes:
        return ""
    body = f'<div class="grid">{figures}</div>' if figures else ""
    body += "".join(f'<p class="soft">{escape(note)}</p>' for note in notes)
    return section("Episodes", body)


def deployment(found: Mapping[str, Any] | None) -> str:
    """Return what happened on the robot."""
    return section("On the robot", pairs(found)) if found else ""


def how_to_read(table: Sequence[Row]) -> str:
    """Return what the numbers mean and how this run's policy lies to each control."""
    body = (
        "<p>Learned rewards and offline data can look good for reasons that have nothing to do "
        "with the reward. The controls take the reward away, or replace it, so that what it adds "
        "can be seen.</p>"
    )
    items = ""
    for row in table:
        words = escape(MEANINGS.get(row.arm.key, ""))
        if row.arm.key != "policy":
            clause = comparison(table[0], row)
            words += f" <em>Here {escape(clause)}.</em>"
        items += f"<div><dt>{escape(row.arm.label)}</dt><dd>{words}</dd></div>"
    body += f'<dl class="meanings">{items}</dl>'
    body += (
        "<p>A 95% interval comes from a bootstrap over training seeds and evaluation episodes: "
        "how far the mean could plausibly move if the whole experiment were repeated. With one "
        "training seed it holds the spread of the episodes alone. The middle half is the mean "
        "without the best and the worst quarter of the episodes (inter-quartile mean).</p>"
    )
    return section("How to read this", body)
