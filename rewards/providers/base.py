"""What a provider of replies is, what a reply is, and the ledger that bounds the cost."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from embodied.errors import UserError
from rewards.prompt import Message


@dataclass(frozen=True)
class Reply:
    """One answer of a language model.

    Attributes:
        text: What it wrote.
        model: The model's name, as the provider gave it.
        usage: ``prompt_tokens`` and ``completion_tokens``, where the provider tells them.
        raw: The answer as it came, before it was parsed.
        statement: What has to be known of a reply that no model gave now; ``""`` otherwise.
    """

    text: str
    model: str
    usage: Mapping[str, int]
    raw: str
    statement: str = ""


@runtime_checkable
class Provider(Protocol):
    """Answers chat messages."""

    name: str

    def complete(self, messages: Sequence[Message], log: Path | None = None) -> Reply:
        """Return the answer to messages.

        Args:
            messages: ``role`` and ``content`` of each.
            log: JSONL file to which an answer that costs money is appended, and synced, before it
                is parsed; what it already holds is not asked again.

        Raises:
            UserError: There is no answer; the line says what to do.
        """
        ...


class NoReplyError(UserError):
    """A provider of kept replies has none for these messages."""


@dataclass
class Ledger:
    """Counts calls and money, and refuses a call that could pass a cap.

    A call is charged at its worst case before it is sent (as many prompt tokens as the prompt has
    bytes, and a completion of full length) and settled when the server tells its usage.
    """

    max_calls: int
    max_cost: float | None = None  # in the currency of the prices
    input_price: float | None = None  # per million prompt tokens; None when unknown
    output_price: float | None = None  # per million completion tokens; None when unknown
    calls: int = 0
    cost: float = 0.0
    _reserved: float = field(default=0.0, repr=False)

    def __post_init__(self) -> None:
        values = (self.max_cost, self.input_price, self.output_price)
        if self.max_calls < 1 or any(
            value is not None and not 0 <= value < math.inf for value in values
        ):
            raise UserError("caps and prices must be numbers from 0, and the call cap at least 1")
        if self.max_cost is not None and not self.priced:
            raise UserError(
                "a spend cap needs prices: set provider.input_price and provider.output_price "
                "(per million tokens), or leave out provider.max_cost and rely on "
                "provider.max_calls"
            )

    @property
    def priced(self) -> bool:
        """Whether both prices are known; otherwise only the call cap applies."""
        return self.input_price is not None and self.output_price is not None

    def reserve(self, prompt_bytes: int, max_tokens: int) -> None:
        """Charge a call before it is sent.

        Raises:
            UserError: A cap is reached; nothing was charged.
        """
        if self.calls >= self.max_calls:
            raise UserError(
                f"the cap of {self.max_calls} calls is reached; raise provider.max_calls"
            )
        worst = self._price(prompt_bytes, max_tokens)
        if self.max_cost is not None and self.cost + worst > self.max_cost:
            raise UserError(
                f"the next call could cost {worst:.4g} and {self.cost:.4g} of the cap of "
                f"{self.max_cost:.4g} is spent; raise provider.max_cost"
            )
        self.calls += 1
        self.cost += worst
        self._reserved = worst

    def settle(self, usage: Mapping[str, int]) -> None:
        """Replace the worst case of the last call by its real usage, where that is told."""
        if "prompt_tokens" in usage and "completion_tokens" in usage:
            real = self._price(usage["prompt_tokens"], usage["completion_tokens"])
            self.cost += real - self._reserved
            self._reserved = 0.0

    def release(self) -> None:
        """Take back the charge of the last call, which the server refused to do."""
        self.cost -= self._reserved
        self._reserved = 0.0

    def summary(self) -> str:
        """Return one line for a person."""
        cost = f"cost {self.cost:.4g}" if self.priced else "cost unknown (no prices were given)"
        return f"{self.calls} of at most {self.max_calls} calls, {cost}"

    def _price(self, prompt_tokens: int, completion_tokens: int) -> float:
        if self.input_price is None or self.output_price is None:
            return 0.0
        return (
            prompt_tokens * self.input_price + completion_tokens * self.output_price
        ) / 1_000_000


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """Append one JSON line and sync it, so that a kill after the call cannot lose it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as stream:
            if stream.tell() and not _ends_line(stream):
                stream.write(b"\n")  # a line that a kill cut off
            stream.write(json.dumps(record, ensure_ascii=True).encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror}); free or mend it") from None


def _ends_line(stream: Any) -> bool:
    stream.seek(-1, os.SEEK_END)
    return bool(stream.read(1) == b"\n")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the records of a JSONL file; a line that a kill cut off is left out."""
    if not path.exists():
        return []
    records = []
    for line in path.read_bytes().splitlines():
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            records.append(value)
    return records
