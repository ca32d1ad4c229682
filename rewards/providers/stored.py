"""Answers that were worked for once: found again in their log, and shared while they are made."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rewards.images import Image
from rewards.providers.base import Reply, append_line, records


class ReplyLog:
    """A JSONL file of raw answers, one a request; other processes may append to it too.

    A record holds ``request`` (the hash that names the question), ``status`` (200 for an answer),
    ``raw`` and what else the provider tells.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._answers: dict[str, list[dict[str, Any]]] = {}
        self._read_to = 0
        self._lock = threading.Lock()

    def answers(self, request: str) -> list[dict[str, Any]]:
        """Return the records that answer a request, newest first."""
        with self._lock:
            self._read_on()
            return self._answers.get(request, [])[::-1]

    def append(self, kept: dict[str, Any]) -> None:
        """Keep a record; it is on the disk when this returns."""
        append_line(self.path, kept)

    def _read_on(self) -> None:
        """Read what was appended since the last time, up to the last whole line."""
        size = self.path.stat().st_size if self.path.exists() else 0
        if size < self._read_to:  # another file lies there now
            self._answers, self._read_to = {}, 0
        if size == self._read_to:
            return
        with self.path.open("rb") as stream:
            stream.seek(self._read_to)
            content = stream.read()
        whole = content.rfind(b"\n") + 1
        self._read_to += whole
        for kept in records(content[:whole]):
            if kept.get("status") == 200:
                self._answers.setdefault(str(kept.get("request")), []).append(kept)


def record(
    request: str, model: str, status: int, raw: str, shown: Sequence[Image]
) -> dict[str, Any]:
    """Return what a log keeps of an answer; of the images shown, their hashes and paths."""
    kept: dict[str, Any] = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "request": request,
        "model": model,
        "status": status,
        "raw": raw,
    }
    return {**kept, "images": [image.description() for image in shown]} if shown else kept


class InFlight:
    """Lets equal questions that are asked at the same time share one answer."""

    def __init__(self) -> None:
        self._answers: dict[Hashable, Future[Reply]] = {}
        self._lock = threading.Lock()

    def share(self, question: Hashable, ask: Callable[[], Reply]) -> Reply:
        """Return what ``ask`` gives, or what an equal question gets that is being asked now.

        Raises:
            UserError: As ``ask``, for all who wait for it.
        """
        with self._lock:
            known = self._answers.get(question)
            answer = self._answers.setdefault(question, Future())
        if known is not None:
            return known.result()
        try:
            reply = ask()
            answer.set_result(reply)
            return reply
        except BaseException as error:
            answer.set_exception(error)
            raise
        finally:
            with self._lock:
                del self._answers[question]
