"""Chat over HTTP: what the wire formats share, over the standard library alone.

A wire format says where a question goes and how it and its answer look. Here are the caps, the
retries, the log, the limits of concurrency and the key, which comes from the environment variable
that the config names, and appears in no file, log or message.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from embodied.errors import UserError, at_least
from embodied.files import sha256_bytes
from rewards.images import Image
from rewards.prompt import Message
from rewards.providers.base import Reply
from rewards.providers.budget import Budget
from rewards.providers.http_status import RETRIED, http_error, retry_after_seconds
from rewards.providers.settings import caps, checked_base_url, key_from_environment
from rewards.providers.stored import InFlight, ReplyLog, record
from rewards.providers.transport import Answer, post
from rewards.providers.turns import Turn, images, read_turns
from rewards.providers.workers import ask_all, sample_numbers


@dataclass(frozen=True)
class HttpConfig:
    """Where the server is, what it is asked, and what it may take."""

    base_url: str  # up to and including /v1, for example http://127.0.0.1:8000/v1
    model: str  # name of the model on that server
    key_env: str | None = None  # environment variable that holds the key; None sends no key
    temperature: float | None = None  # None leaves it to the server
    max_tokens: int = 4096  # longest completion
    image_tokens: int = 16_384  # what an image is charged before the server tells its usage
    connect_timeout_s: float = 10.0  # to open the connection
    timeout_s: float = 180.0  # for one whole call, until the last byte
    max_response_bytes: int = 4_000_000  # longer answers are refused
    concurrency: int = 4  # most calls under way at a time
    max_calls: int = 20  # requests of this run, retries included
    max_total_tokens: int | None = None  # of this run, prompts and completions
    max_seconds: float | None = None  # of wall time, from the start of this run
    max_cost: float | None = None  # spend cap of this run; needs both prices
    input_price: float | None = None  # per million prompt tokens; None means unknown
    output_price: float | None = None  # per million completion tokens; None means unknown
    max_retries: int = 4  # after 408, 409, 429 and 5xx
    backoff_s: float = 1.0  # first wait, doubled each time, with jitter
    max_wait_s: float = 60.0  # longest wait, also when the server asks for a longer one


@dataclass(frozen=True)
class Wire:
    """A format of question and answer.

    Attributes:
        name: The provider's short name.
        path: What follows ``base_url``.
        headers: Returns the headers that carry a key, and those that the format needs.
        request: Returns the JSON to send, with images as ``image`` gives them.
        image: Returns the JSON of an image.
        parse: Returns the reply that a body and the name of the model asked hold.
    """

    name: str
    path: str
    headers: Callable[[str | None], dict[str, str]]
    request: Callable[[Sequence[Turn], Any, Callable[[Image], Any]], dict[str, Any]]
    image: Callable[[Image], dict[str, Any]]
    parse: Callable[[str, str], Reply]


class HttpChatProvider:
    """Asks a server in one of the wire formats. Safe between threads."""

    def __init__(self, wire: Wire, config: HttpConfig, sleep: Callable[[float], None]) -> None:
        at_least(1, {"provider.concurrency": config.concurrency})
        self.name = wire.name
        self.config = config
        self.url = checked_base_url(config.base_url, config.key_env) + wire.path
        self.budget = Budget(caps(config))
        self._wire = wire
        self._sleep = sleep
        self._random = random.Random()
        self._logs: dict[Path, ReplyLog] = {}
        self._in_flight = InFlight()

    def complete(
        self, messages: Sequence[Message], log: Path | None = None, sample: int = 0
    ) -> Reply:
        """Return the server's answer, from ``log`` where it was paid for already.

        Raises:
            BudgetError: A cap could be passed; the call was not sent.
            UserError: Refused connection, timeout, HTTP error or unreadable answer.
        """
        turns = read_turns(messages)
        request = self._name_of(turns, sample)
        return self._in_flight.share(
            (request, log), lambda: self._stored(request, log) or self._ask(turns, request, log)
        )

    def complete_many(
        self,
        questions: Sequence[Sequence[Message]],
        log: Path | None = None,
        samples: Sequence[int] | None = None,
    ) -> list[Reply | UserError]:
        """Return the answers in the order of the questions, ``concurrency`` at a time."""
        numbers = sample_numbers(questions, samples)
        return ask_all(
            len(questions),
            lambda index: self.complete(questions[index], log, numbers[index]),
            self.config.concurrency,
        )

    def _ask(self, turns: Sequence[Turn], request: str, log: Path | None) -> Reply:
        key = key_from_environment(self.config.key_env)
        body = _encoded(self._wire.request(turns, self.config, self._wire.image))
        for attempt in range(self.config.max_retries + 1):
            with self.budget.charge(self._prompt_bound(body, turns), self.config.max_tokens) as due:
                answer = self._post(body, key)
                if log is not None:
                    model, shown = self.config.model, images(turns)
                    kept = record(request, model, answer.status, answer.text, shown)
                    self._log(log).append(kept)
                if answer.status == 200:
                    reply = self._wire.parse(answer.text, self.config.model)
                    due.settle(reply.usage)
                    return reply
                due.release()
            if answer.status not in RETRIED:
                break
            if attempt < self.config.max_retries:
                self._sleep(self._wait(attempt, answer.retry_after))
        raise UserError(http_error(answer.status, answer.text, self.config.base_url))

    def _name_of(self, turns: Sequence[Turn], sample: int) -> str:
        """Return the hash that names a question: its images count by the hash of their bytes."""
        body = _encoded(self._wire.request(turns, self.config, _hashed))
        number = f"\nsample {sample}".encode() if sample else b""
        return sha256_bytes(self.url.encode() + b"\n" + body + number)

    def _prompt_bound(self, body: bytes, turns: Sequence[Turn]) -> int:
        """Return a number of tokens that a prompt does not pass: one a byte, and its images'."""
        shown = images(turns)
        return len(body) - sum(len(i.base64) for i in shown) + len(shown) * self.config.image_tokens

    def _post(self, body: bytes, key: str | None) -> Answer:
        """Send a question; the seconds left of the budget are a deadline too."""
        left, limits = self.budget.remaining().seconds, self.config
        if left is not None:
            limits = replace(limits, timeout_s=max(0.001, min(limits.timeout_s, left)))
        try:
            return post(self.url, body, self._wire.headers(key), key, limits)
        except UserError:
            self.budget.check(0)  # where they are used up, that is what has to be told
            raise

    def _wait(self, attempt: int, retry_after: str | None) -> float:
        """Return the seconds before the next attempt: what the server asks, or a backoff."""
        asked = retry_after_seconds(retry_after)
        if asked is None:
            asked = self.config.backoff_s * 2**attempt * self._random.uniform(0.5, 1.0)
        left = self.budget.remaining().seconds
        return min(asked, self.config.max_wait_s, *([] if left is None else [left]))

    def _log(self, path: Path) -> ReplyLog:
        return self._logs.setdefault(path, ReplyLog(path))

    def _stored(self, request: str, log: Path | None) -> Reply | None:
        """Return the answer to a request that a log already holds and that can be read."""
        for kept in self._log(log).answers(request) if log is not None else []:
            try:
                return self._wire.parse(str(kept.get("raw")), str(kept.get("model")))
            except UserError:
                continue
        return None


def _encoded(request: dict[str, Any]) -> bytes:
    return json.dumps(request, ensure_ascii=True).encode()


def _hashed(image: Image) -> dict[str, Any]:
    return {key: value for key, value in image.description().items() if key != "path"}
