"""What a provider of replies is, and what a reply is."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, runtime_checkable

from embodied.errors import UserError
from rewards.prompt import Message
from rewards.providers.budget import Budget, BudgetError, Caps

__all__ = [
    "Budget",
    "BudgetError",
    "Caps",
    "Message",
    "NoReplyError",
    "Provider",
    "Reply",
    "append_line",
    "read_lines",
]

_APPENDING = threading.Lock()


@dataclass(frozen=True)
class Reply:
    """One answer of a language model.

    Attributes:
        text: What it wrote.
        model: The model's name, as the provider gave it.
        usage: ``prompt_tokens`` and ``completion_tokens``, where the provider tells them.
        raw: The answer as it came, before it was parsed.
        statement: What has to be known of a reply that no model gave now; ``""`` otherwise.
        stop: Why it ended, in the provider's word (``stop``, ``length``, ``max_tokens``...);
            ``""`` where that is not told.
    """

    text: str
    model: str
    usage: Mapping[str, int]
    raw: str
    statement: str = ""
    stop: str = ""


@runtime_checkable
class Provider(Protocol):
    """Answers chat messages.

    Attributes:
        name: Its short name in the registry.
        budget: What this provider has spent and may spend; a loop shows ``budget.summary()``,
            plans by ``budget.remaining()``, and ends at a ``BudgetError``.
    """

    name: str
    budget: Budget

    def complete(
        self, messages: Sequence[Message], log: Path | None = None, sample: int = 0
    ) -> Reply:
        """Return the answer to messages.

        Args:
            messages: ``role`` and ``content`` of each; a content is a text or a list of parts
                (``rewards.images``).
            log: JSONL file to which an answer that was worked for is appended, and synced, before
                it is parsed; what it already holds is not asked again.
            sample: Number of the answer, where several to the same messages are wanted.

        Raises:
            BudgetError: The call could pass a cap; it was not sent.
            UserError: There is no answer; the line says what to do.
        """
        ...

    def complete_many(
        self,
        questions: Sequence[Sequence[Message]],
        log: Path | None = None,
        samples: Sequence[int] | None = None,
    ) -> list[Reply | UserError]:
        """Return the answers to several questions, in their order.

        A question that fails has its error in its place, and takes no other's answer with it.

        Args:
            questions: Messages of each.
            log: As for ``complete``.
            samples: Number of each answer, as for ``complete``; all 0 unless given.
        """
        ...


class NoReplyError(UserError):
    """A provider of kept replies has none for these messages."""


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """Append one JSON line and sync it, so that a kill after the call cannot lose it.

    Several threads and processes may append to one file: the lines stay whole.
    """
    line = json.dumps(record, ensure_ascii=True).encode() + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as stream, _alone(stream):
            if stream.seek(0, os.SEEK_END) and not _ends_line(stream):
                line = b"\n" + line  # after a line that a kill cut off
            stream.write(line)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror}); free or mend it") from None


@contextmanager
def _alone(stream: IO[bytes]) -> Iterator[None]:
    """Keep other threads, and other processes where the system has locks, from appending."""
    with _APPENDING:
        try:
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX)  # until the stream is closed
        except (ImportError, OSError):  # a system or a file system without locks
            pass
        yield


def _ends_line(stream: IO[bytes]) -> bool:
    stream.seek(-1, os.SEEK_END)
    return stream.read(1) == b"\n"


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the records of a JSONL file; a line that a kill cut off is left out."""
    return records(path.read_bytes()) if path.exists() else []


def records(content: bytes) -> list[dict[str, Any]]:
    """Return the JSON objects among the lines of some bytes."""
    found = []
    for line in content.splitlines():
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            found.append(value)
    return found
