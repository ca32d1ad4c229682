"""The shell of every page: head, header, sections and footer in the one file that holds them all.

A page runs no script and loads nothing: its own policy forbids both, so that text from outside
would stay inert even if an escape were missing. All of that text goes through ``escape``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Any

from embodied.report.text import escape, pairs

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; media-src data:"


def document(
    eyebrow: str,
    title: str,
    sections: Iterable[str],
    result: Mapping[str, Any],
    manifest: Mapping[str, Any],
    *,
    lead: str = "",
) -> str:
    """Return a whole page as HTML.

    Args:
        eyebrow: The kind of page, above its title; plain text.
        title: Of the page, as plain text.
        sections: HTML, from top to bottom; empty ones are left out.
        result: The ``result.json`` that is shown; its ``notes`` stand in the header.
        manifest: Versions, machine and commit, for the footer.
        lead: HTML between the title and the notes.
    """
    style = files("embodied.report").joinpath("style.css").read_text(encoding="utf-8")
    title = escape(title)
    notes = "".join(f"<li>{escape(note)}</li>" for note in result.get("notes") or [])
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
<p class="eyebrow">{escape(eyebrow)}</p>
<h1>{title}</h1>
{lead}
{f'<ul class="notes soft">{notes}</ul>' if notes else ""}
</header>
{chr(10).join(part for part in sections if part)}
</main>
{_footer(result.get("schema_version"), manifest)}
</body>
</html>
"""


def _footer(version: object, manifest: Mapping[str, Any]) -> str:
    source = f"<p>result.json, schema version {escape(version)}</p>" if version else ""
    return f"""<footer>
<details><summary>Versions, machine and commit</summary>
{pairs(manifest)}
{source}
</details>
</footer>"""


def section(title: str, body: str) -> str:
    """Return a section; ``title`` and ``body`` are HTML."""
    return f"<section><h2>{title}</h2>{body}</section>"


def figure(title: str, body: str) -> str:
    """Return a figure under its caption; ``title`` is plain text, ``body`` is HTML."""
    return f"<figure><figcaption>{escape(title)}</figcaption>{body}</figure>"
