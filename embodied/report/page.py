"""The report of a run: what it trained, beside its controls, on one page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embodied.files import write_text
from embodied.report import sections
from embodied.report.content import ReportContent, Row, rows
from embodied.report.document import document
from embodied.report.reading import headline
from embodied.report.rounds import improvement
from embodied.report.text import duration, escape


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
        improvement(content.rounds),
        sections.episodes(content.videos or {}, content.missing_videos),
        sections.deployment(content.deployment),
        sections.how_to_read(table),
    ]
    return document(
        "Robot policy report",
        _title(content.result),
        parts,
        content.result,
        content.manifest,
        lead=_lead(content.result, table),
    )


def _title(result: Mapping[str, Any]) -> str:
    instruction = str(result.get("instruction") or "").strip()
    return f"“{instruction}”" if instruction else str(result.get("task") or "A run")


def _lead(result: Mapping[str, Any], table: list[Row]) -> str:
    figure, sentence = headline(table)
    number = f"<strong>{escape(figure)}</strong><p>{escape(sentence)}</p>"
    return f'<div class="headline">{number}</div>\n{_facts(result)}'


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
