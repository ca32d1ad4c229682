"""What a label store holds: questions by their canonical text, raw answers, labels, the ledger."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from embodied.errors import UserError
from embodied.files import sha256_bytes

ANSWERED = 200  # status of an answer; one with any other leaves its question open


@dataclass(frozen=True)
class Question:
    """A question that a worker has claimed: its key and its canonical request."""

    key: str
    request: Any


@dataclass(frozen=True)
class Answer:
    """A raw answer with what it took."""

    raw: str
    status: int = ANSWERED
    model: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0  # in the currency of the prices that the user gave


@dataclass(frozen=True)
class Label:
    """What a parser read in an answer; ``value`` is None where it could not, for ``reason``."""

    key: str  # of the question
    value: str | None
    reason: str
    parser: str
    model: str
    time: float  # s since the epoch, when the answer came


@dataclass(frozen=True)
class Spent:
    """What the answers of one model took."""

    calls: int
    tokens_in: int
    tokens_out: int
    cost: float


def canonical(request: Any) -> str:
    """Return a request as JSON with sorted keys, bytes replaced by their SHA-256.

    Raises:
        UserError: It holds something that JSON does not, or a number that is not finite.
    """

    def plain(value: Any) -> Any:
        if isinstance(value, bytes):
            return {"sha256": sha256_bytes(value)}
        raise TypeError

    try:
        return json.dumps(
            request, sort_keys=True, ensure_ascii=False, allow_nan=False, default=plain
        )
    except (TypeError, ValueError):
        raise UserError("a question holds text, finite numbers, lists, mappings, bytes") from None
