"""Reading the JSON body of an answer, whose every part may be missing or of another type."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from embodied.errors import UserError


def json_object(text: str) -> dict[str, Any]:
    """Return the JSON object that a body holds; an empty one where it holds something else.

    Raises:
        UserError: It is not JSON.
    """
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        raise UserError(
            f"the server's answer is not JSON (it begins with {text[:60]!r}); check that "
            "provider.base_url is the address of the API, usually ending in /v1"
        ) from None
    return body if isinstance(body, dict) else {}


def item(value: Any, *keys: str | int) -> Any:
    """Return what lies under keys and indices in nested JSON; None where there is nothing."""
    for key in keys:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def text_or(value: Any, default: str) -> str:
    """Return a text that is not empty, or the default."""
    return value if isinstance(value, str) and value else default


def counts(usage: Any, names: Mapping[str, tuple[str, ...]]) -> dict[str, int]:
    """Return token counts: for every name the sum of the fields that the server tells of it.

    The first field of each has to be there; a name without it is left out.
    """
    if not isinstance(usage, dict):
        return {}
    told = {key: value for key, value in usage.items() if type(value) is int and value >= 0}
    return {
        name: sum(told.get(key, 0) for key in keys)
        for name, keys in names.items()
        if keys[0] in told
    }
