"""Charts as inline SVG that takes its colours and its font from the page.

Every chart is narrow enough to be read on a phone; the page sets them side by side where there is
room. Legends are HTML beside the drawing, so that they wrap and follow the theme too.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from embodied.report.content import Curve, Row, thin
from embodied.report.reading import Measure
from embodied.report.text import escape, visible

NEEDED = "Charts need matplotlib: pip install 'embodied-stack[report]'"
STYLES = 7  # colours, each with a dash pattern of its own; further series begin again
DASHES: tuple[tuple[float, ...], ...] = ((), (6, 2), (2, 2), (6, 2, 1, 2), (1, 1.5), (9, 3), (4, 4))
MAX_SEED_LINES = 10  # drawn of one arm; the mean is that of all
SMALL, MEDIUM = (3.8, 2.3), (5.2, 3.0)  # inches; 72 units of the drawing each

# Colours that stand for the page's variables and are replaced by them in the finished drawing.
_INK, _GRID, _PAGE = "#000001", "#000002", "#000003"
_SERIES = tuple(f"#0000{16 + index:x}" for index in range(STYLES))
_VARIABLES = {_INK: "--soft", _GRID: "--line", _PAGE: "--card"} | {
    colour: f"--s{index}" for index, colour in enumerate(_SERIES)
}
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


def available() -> bool:
    """Return whether matplotlib, which draws the charts, is installed."""
    return find_spec("matplotlib") is not None


def intervals(rows: Sequence[Row], what: Measure, label: str) -> str:
    """Draw each row's mean, its 95% interval and the means of its seeds, first row on top."""
    shown = [(row, value) for row in rows if (value := what.of(row))]
    with _axes((5.2, 0.7 + 0.42 * len(shown)), label) as (axes, svg):
        for place, (row, value) in enumerate(shown):
            colour = _SERIES[row.arm.style % STYLES]
            if value.interval:
                axes.plot(value.interval, [place, place], color=colour, linewidth=3, alpha=0.75)
            if len(value.per_seed) > 1:
                places = [place] * len(value.per_seed)
                axes.plot(value.per_seed, places, "|", color=colour, markersize=13, alpha=0.8)
            axes.plot([value.mean], [place], "o", color=colour, markersize=8, mec=_PAGE, mew=1.5)
        names = [_short(row.arm.label) for row, _ in shown]
        axes.set_yticks(range(len(shown)), names, parse_math=False)
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.grid(axis="x", color=_GRID, linewidth=0.8)
        if what.name == "success":
            _percent(axes.xaxis, axes.set_xlim)
    return svg()


def learning(curves: Sequence[Curve], label: str, *, rate: bool, size: tuple[float, float]) -> str:
    """Draw one metric over the steps of training: thin lines are seeds, thick ones their mean."""
    with _axes(size, label) as (axes, svg):
        for curve in reversed(curves):  # the policy is drawn last, on top
            colour = _SERIES[curve.arm.style % STYLES]
            dots = "o" if len(curve.steps) <= 25 else None
            if len(curve.seeds) > 1:
                for seed in curve.seeds[:MAX_SEED_LINES]:
                    axes.plot(curve.steps, seed, color=colour, linewidth=0.8, alpha=0.4)
            line = {"ls": _dash(curve.arm.style), "linewidth": 2, "marker": dots, "markersize": 3.5}
            axes.plot(curve.steps, curve.mean, color=colour, **line)
        axes.grid(axis="y", color=_GRID, linewidth=0.8)
        axes.set_xlabel("gradient steps")
        axes.xaxis.set_major_formatter(_thousands)
        if rate:
            _percent(axes.yaxis, axes.set_ylim)
    return svg()


def profiles(
    thresholds: Sequence[float],
    bands: Sequence[Mapping[str, Sequence[float]]],
    what: Measure,
    label: str,
) -> str:
    """Draw performance profiles with their 95% intervals; the n-th has the n-th style.

    Args:
        thresholds: ``[T]`` values of the measure.
        bands: ``fraction``, ``low`` and ``high`` of each profile, ``[T]`` in [0, 1].
        what: The measure.
        label: What the drawing says to those who cannot see it.
    """
    with _axes(MEDIUM, label) as (axes, svg):
        for style, band in enumerate(bands):
            colour = _SERIES[style % STYLES]
            axes.fill_between(thresholds, band["low"], band["high"], color=colour, alpha=0.12, lw=0)
            axes.plot(thresholds, band["fraction"], color=colour, ls=_dash(style), linewidth=2)
        axes.grid(axis="y", color=_GRID, linewidth=0.8)
        axes.set_xlabel(what.name)
        _percent(axes.yaxis, axes.set_ylim)
        if what.name == "success":
            _percent(axes.xaxis, axes.set_xlim)
    return svg()


def episode(series: Mapping[str, Sequence[float]], label: str) -> str:
    """Draw named series over the steps of one episode; the n-th has the n-th style."""
    with _axes(MEDIUM, label) as (axes, svg):
        for style, values in enumerate(series.values()):
            steps, colour = thin(range(len(values))), _SERIES[style % STYLES]
            axes.plot(steps, thin(values), ls=_dash(style), color=colour, linewidth=1.8)
        axes.grid(axis="y", color=_GRID, linewidth=0.8)
        axes.set_xlabel("step of the episode")
    return svg()


def legend(entries: Sequence[tuple[str, int]]) -> str:
    """Return an HTML legend of ``(name, style)``, drawn as the lines are."""
    keys = []
    for name, style in entries:
        dash = " ".join(f"{2 * part:g}" for part in DASHES[style % STYLES]) or "none"
        keys.append(
            '<li><svg viewBox="0 0 28 8" width="28" height="8" aria-hidden="true">'
            f'<line x1="0" x2="28" y1="4" y2="4" stroke="var(--s{style % STYLES})" '
            f'stroke-width="3" stroke-dasharray="{dash}"></line></svg>{escape(name)}</li>'
        )
    return f'<ul class="legend">{"".join(keys)}</ul>'


def _dash(style: int) -> Any:
    pattern = DASHES[style % STYLES]
    return (0, pattern) if pattern else "-"


def _short(name: str) -> str:
    name = visible(name).replace("\n", " ")
    return name if len(name) <= 24 else f"{name[:23]}…"


def _percent(axis: Any, set_limits: Callable[[float, float], Any]) -> None:
    set_limits(-0.03, 1.03)
    axis.set_ticks([0, 0.25, 0.5, 0.75, 1])
    axis.set_major_formatter(lambda value, _: f"{100 * value:g}%")


def _thousands(value: float, _: int) -> str:
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


@contextmanager
def _axes(size: tuple[float, float], label: str) -> Iterator[tuple[Any, Callable[[], str]]]:
    """Yield bare axes and the function that gives the finished drawing."""
    import matplotlib
    from matplotlib.figure import Figure

    drawing = io.StringIO()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a user's own style must not change the page
        matplotlib.rcParams.update(
            {
                "svg.fonttype": "none",  # text stays text, in the page's font
                "svg.hashsalt": visible(label),
                "font.size": 11,
                "text.color": _INK,
                "axes.labelcolor": _INK,
                "axes.edgecolor": _GRID,
                "axes.axisbelow": True,
                "axes.formatter.useoffset": False,
                "axes.formatter.limits": (-3, 5),
                "xtick.color": _INK,
                "ytick.color": _INK,
                "xtick.major.size": 0,
                "ytick.major.size": 0,
                "lines.solid_capstyle": "round",
            }
        )
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        axes.spines[["top", "right", "left"]].set_visible(False)
        yield axes, lambda: _inline(drawing.getvalue(), label)
        figure.savefig(drawing, format="svg", metadata=_NO_METADATA, transparent=True)


def _inline(svg: str, label: str) -> str:
    """Return the drawing for use in HTML: no prologue, no ids that clash, the page's colours."""
    svg = svg[svg.index("<svg") :]
    box = re.search(r'viewBox="([\d. ]+)"', svg)
    body = svg[svg.index(">") + 1 :]
    body = re.sub(r"<style.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r' id="(?![mp][0-9a-f]{10}")[^"]*"', "", body)
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body).replace("xlink:href", "href")
    body = re.sub(r' d="[^"]*"', lambda path: _round(path.group()), body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(f": {colour}", f": var({variable})")
    body = re.sub(r">\s+<", "><", body).strip()
    assert box is not None
    return f'<svg viewBox="{box.group(1)}" role="img" aria-label="{escape(label)}">{body}'


def _round(path: str) -> str:
    path = re.sub(r"-?\d+\.\d+", lambda found: f"{float(found.group()):.2f}", path)
    return re.sub(r"\s+", " ", path)
