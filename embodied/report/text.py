"""Text for the page: escaping, number formats, key-value lists and highlighted code."""

from __future__ import annotations

import html
import io
import keyword
import token
import tokenize
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from embodied.report.content import Estimate

ABSENT = "\N{EN DASH}"  # shown where there is no value
_DIRECTION_CONTROLS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
_LITERALS = {"True", "False", "None"}


def visible(value: object) -> str:
    """Return the text with control, direction-changing and broken characters spelled out.

    A direction override makes code read differently from what it does ("Trojan Source", Boucher
    and Anderson 2021), so the page shows its code point instead.
    """
    return "".join(
        f"[U+{ord(character):04X}]" if _misleading(character) else character
        for character in str(value).replace("\r\n", "\n")
    )


def _misleading(character: str) -> bool:
    if character in "\n\t" or " " <= character <= "~":
        return False
    return (
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
        or unicodedata.bidirectional(character) in _DIRECTION_CONTROLS
    )


def escape(value: object) -> str:
    """Return text from outside so that it is inert in an element and in a quoted attribute."""
    return html.escape(visible(value), quote=True)


def percent(value: float) -> str:
    """Return a rate in [0, 1] as a percentage with at most one decimal."""
    return f"{100 * value:.1f}".removesuffix(".0") + "%"


def number(value: float) -> str:
    """Return four significant digits, or a whole number with separators."""
    if float(value).is_integer() or abs(value) >= 1e4:
        return f"{value:,.0f}" if abs(value) < 1e15 else f"{value:.3g}"
    return f"{value:.4g}"


def interval(estimate: Estimate, show: Callable[[float], str]) -> str:
    """Return "low to high", or a dash where there is no interval."""
    if estimate.interval is None:
        return ABSENT
    return span(estimate.interval, show)


def span(ends: Sequence[float], show: Callable[[float], str]) -> str:
    """Return "low to high" of an interval's two ends."""
    return f"{show(ends[0])} to {show(ends[1])}"


def duration(seconds: float) -> str:
    """Return a duration in its two largest units."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours} h {minute} min" if hours else f"{minute} min {second} s"


def pairs(values: Mapping[str, Any]) -> str:
    """Return a nested mapping of JSON values as a definition list."""
    items = [
        f"<div><dt>{escape(key.replace('_', ' '))}</dt><dd>{_value(value)}</dd></div>"
        for key, value in values.items()
    ]
    return f'<dl class="pairs">{"".join(items)}</dl>'


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return pairs(value) if value else ABSENT
    if isinstance(value, list | tuple):
        return ", ".join(_value(item) for item in value) or ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value)
    return ABSENT if value is None or value == "" else escape(value)


def highlight(source: str) -> str:
    """Return Python code as escaped HTML with spans for the kinds of tokens.

    Code that does not tokenize is shown without colours. The text between the tags is the source,
    character by character.
    """
    source = visible(source)
    starts = [0]
    for line in source.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    pieces, cursor = [], 0
    try:
        for item in tokenize.generate_tokens(io.StringIO(source).readline):
            kind = _kind(item)
            begin, end = (starts[row - 1] + column for row, column in (item.start, item.end))
            if kind and begin >= cursor:
                pieces.append(escape(source[cursor:begin]))
                pieces.append(f'<span class="{kind}">{escape(source[begin:end])}</span>')
                cursor = end
    except (tokenize.TokenError, SyntaxError, ValueError, IndexError):
        return escape(source)
    return "".join(pieces) + escape(source[cursor:])


def _kind(item: tokenize.TokenInfo) -> str:
    if item.type == tokenize.COMMENT:
        return "comment"
    name = token.tok_name[item.type]
    if item.type == token.STRING or name.startswith(("FSTRING", "TSTRING")):
        return "string"
    if item.type == token.NUMBER or item.string in _LITERALS:
        return "number"
    if item.type == token.NAME and keyword.iskeyword(item.string):
        return "keyword"
    return ""
