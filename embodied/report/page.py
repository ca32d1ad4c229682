"""The page: header, sections and footer in the one file that holds them all.

The page runs no script and loads nothing: its own policy forbids both, so that text from outside
would stay inert even if an escape were missing. All of that text goes through ``escape``.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from embodied.files import write_text
from embodied.report import sections
from embodied.report.content import ReportContent, Row, rows
from embodied.report.reading import headline
from embodied.report.text import duration, escape, pairs

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; media-src data:"


def build_report(path: Path, content: ReportContent) -> None:
    """Write the report as one HTML file with its charts and videos inside, atomically.

    The same content gives the same bytes with the same version of matplotlib. Without matplotlib
    the page has its tables and says what the charts need.

    Args:
        path: The HTML file.
        content: What is shown; parts that are None or empty are left out.
    """
    write_text(path, render(content))


def render(content: ReportContent) -> str:
    """Return the page as HTML."""
    table, absent = rows(content.result)
    parts = [
        sections.outcome(table, absent),
        sections.training(content.metrics),
        sections.reward(content),
        sections.episodes(content.videos or {}, content.missing_videos),
        sections.deployment(content.deployment),
        sections.how_to_read(table),
    ]
    style = files("embodied.report").joinpath("style.css").read_text(encoding="utf-8")
    title = escape(_title(content.result))
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
{_header(content.result, table, title)}
{chr(10).join(part for part in parts if part)}
</main>
{_footer(content)}
</body>
</html>
"""


def _title(result: Mapping[str, Any]) -> str:
    instruction = str(result.get("instruction") or "").strip()
    return f"“{instruction}”" if instruction else str(result.get("task") or "A run")


def _header(result: Mapping[str, Any], table: list[Row], title: str) -> str:
    figure, sentence = headline(table)
    notes = "".join(f"<li>{escape(note)}</li>" for note in result.get("notes") or [])
    return f"""<header>
<p class="eyebrow">Robot policy report</p>
<h1>{title}</h1>
<div class="headline"><strong>{escape(figure)}</strong><p>{escape(sentence)}</p></div>
{_facts(result)}
{f'<ul class="notes soft">{notes}</ul>' if notes else ""}
</header>"""


def _facts(result: Mapping[str, Any]) -> str:
    reward = result.get("reward") or {}
    seeds = result.get("seeds") or []
    episodes, steps, wall_s = (result.get(key) for key in ("episodes", "steps", "wall_s"))
    facts = {
        "Task": result.get("task"),
        "Policy": result.get("policy"),
        "Reward": reward.get("kind"),
        "Training seeds": ", ".join(str(seed) for seed in seeds),
        "Evaluation": None if episodes is None else f"{episodes:,} episodes per seed",
        "Gradient steps": None if steps is None else f"{steps:,}",
        "Wall time": None if wall_s is None else duration(wall_s),
    }
    items = [
        f"<div><dt>{key}</dt><dd>{escape(value)}</dd></div>"
        for key, value in facts.items()
        if value not in (None, "")
    ]
    return f'<dl class="facts">{"".join(items)}</dl>'


def _footer(content: ReportContent) -> str:
    version = content.result.get("schema_version")
    source = f"<p>result.json, schema version {escape(version)}</p>" if version else ""
    return f"""<footer>
<details><summary>Versions, machine and commit</summary>
{pairs(content.manifest)}
{source}
</details>
</footer>"""
