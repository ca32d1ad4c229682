"""The section on an improvement loop: what was said, what changed, and how each program did."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import unified_diff
from itertools import pairwise

from embodied.report.content import estimate
from embodied.report.document import section
from embodied.report.reading import RETURN, SUCCESS, Measure
from embodied.report.text import ABSENT, escape, interval, number
from embodied.rounds import Round

CONTEXT = 2  # unchanged lines around a change


def improvement(rounds: Sequence[Round]) -> str:
    """Return the rounds side by side and what changed from each to the next; "" without any."""
    if not rounds:
        return ""
    body = _table(rounds)
    for before, after in pairwise(rounds):
        body += f"<h3>Round {after.number}: {escape(_title(after))}</h3>"
        if after.said:
            body += f"<blockquote>{escape(after.said)}</blockquote>"
        if after.note:
            body += f'<p class="soft">{escape(after.note)}</p>'
        body += _difference(before, after)
    return section("Rounds of improvement", body)


def _title(item: Round) -> str:
    titles = {"first": "the first program", "feedback": "after a person's word"}
    return titles.get(item.kind, "after the training curves")


def _table(rounds: Sequence[Round]) -> str:
    heads = ("success", "return", "mean of each term per step")
    columns = "".join(f'<th scope="col">{name}</th>' for name in heads)
    lines = ""
    for item in rounds:
        terms = ", ".join(f"{name} {number(value)}" for name, value in item.terms.items())
        texts = (_estimated(item, SUCCESS), _estimated(item, RETURN), terms or ABSENT)
        cells = "".join(
            f'<td data-label="{name}">{escape(text)}</td>'
            for name, text in zip(heads, texts, strict=True)
        )
        lines += f'<tr><th scope="row">{item.number}: {escape(_title(item))}</th>{cells}</tr>'
    return f"<table><thead><tr><td></td>{columns}</tr></thead><tbody>{lines}</tbody></table>"


def _estimated(item: Round, what: Measure) -> str:
    value = estimate(item.success if what is SUCCESS else item.returns)
    if value is None:
        return ABSENT
    inside = f" ({interval(value, what.show)})" if value.interval else ""
    return what.show(value.mean) + inside


def _difference(before: Round, after: Round) -> str:
    lines = list(
        unified_diff(before.source.splitlines(), after.source.splitlines(), lineterm="", n=CONTEXT)
    )[2:]
    if not lines:
        return '<p class="soft">The program stayed the same.</p>'
    tags = {"+": "ins", "-": "del"}
    marked = (
        f"<{tags[line[0]]}>{escape(line)}</{tags[line[0]]}>" if line[0] in tags else escape(line)
        for line in lines
    )
    return f"<pre><code>{chr(10).join(marked)}</code></pre>"
