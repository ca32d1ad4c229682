"""Chat completions of any OpenAI-compatible server, over the standard library alone.

vLLM, Ollama, llama.cpp and the hosted services speak this format. The key comes from the
environment variable that the config names, and appears in no file, log or message.
"""

from __future__ import annotations

import json
import os
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from embodied.config import build
from embodied.errors import UserError
from embodied.files import sha256_bytes
from rewards.prompt import Message
from rewards.providers.base import Ledger, Reply, append_line, read_lines
from rewards.providers.transport import Answer, post

RETRIED = frozenset({408, 409, 429, *range(500, 600)})
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class OpenAIConfig:
    """Where the server is, what it is asked, and what it may take."""

    base_url: str  # up to and including /v1, for example http://127.0.0.1:8000/v1
    model: str  # name of the model on that server
    key_env: str | None = None  # environment variable that holds the key; None sends no key
    temperature: float | None = None  # None leaves it to the server
    max_tokens: int = 4096  # longest completion
    token_limit_name: str = "max_tokens"  # newer hosted models want max_completion_tokens
    connect_timeout_s: float = 10.0  # to open the connection
    timeout_s: float = 180.0  # for one whole call, until the last byte
    max_response_bytes: int = 4_000_000  # longer answers are refused
    max_calls: int = 20  # requests of this run, retries included
    max_cost: float | None = None  # spend cap of this run; needs both prices
    input_price: float | None = None  # per million prompt tokens; None means unknown
    output_price: float | None = None  # per million completion tokens; None means unknown
    max_retries: int = 4  # after 408, 409, 429 and 5xx
    backoff_s: float = 1.0  # first wait, doubled each time, with jitter
    max_wait_s: float = 60.0  # longest wait, also when the server asks for a longer one


class OpenAIProvider:
    """Asks an OpenAI-compatible server."""

    name = "openai"

    def __init__(
        self,
        config: OpenAIConfig | Mapping[str, Any],
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.config = config if isinstance(config, OpenAIConfig) else _config(config)
        self.url = _checked_url(self.config)
        self.ledger = Ledger(
            self.config.max_calls,
            self.config.max_cost,
            self.config.input_price,
            self.config.output_price,
        )
        self._sleep = sleep
        self._random = random.Random()

    def complete(self, messages: Sequence[Message], log: Path | None = None) -> Reply:
        """Return the server's answer, from ``log`` where it was paid for already.

        Raises:
            UserError: Refused connection, timeout, HTTP error, unreadable answer or a cap.
        """
        body = json.dumps(self._request(messages), ensure_ascii=True).encode()
        request = sha256_bytes(self.url.encode() + b"\n" + body)
        stored = _stored(log, request)
        if stored is not None:
            return stored
        key = self._key()
        for attempt in range(self.config.max_retries + 1):
            self.ledger.reserve(len(body), self.config.max_tokens)
            answer = post(self.url, body, key, self.config)
            if log is not None:
                append_line(log, _logged(request, answer, self.config.model))
            if answer.status == 200:
                reply = parse_reply(answer.text, self.config.model)
                self.ledger.settle(reply.usage)
                return reply
            self.ledger.release()
            if answer.status not in RETRIED:
                break
            if attempt < self.config.max_retries:
                self._sleep(self._wait(attempt, answer.retry_after))
        raise UserError(_http_error(answer, self.config))

    def _request(self, messages: Sequence[Message]) -> dict[str, Any]:
        request: dict[str, Any] = {
            "model": self.config.model,
            "messages": list(messages),
            self.config.token_limit_name: self.config.max_tokens,
        }
        if self.config.temperature is not None:
            request["temperature"] = self.config.temperature
        return request

    def _key(self) -> str | None:
        name = self.config.key_env
        if name is None:
            return None
        key = os.environ.get(name, "").strip()
        if not key:
            raise UserError(
                f"the environment variable {name} is not set; export the key in it, or set "
                "provider.key_env=null for a server that needs none"
            )
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise UserError(f"the environment variable {name} does not hold a key; export it again")
        return key

    def _wait(self, attempt: int, retry_after: str | None) -> float:
        """Return the seconds before the next attempt: what the server asks, or a backoff."""
        asked = retry_after_seconds(retry_after)
        if asked is None:
            asked = self.config.backoff_s * 2**attempt * self._random.uniform(0.5, 1.0)
        return min(asked, self.config.max_wait_s)


def parse_reply(text: str, model: str) -> Reply:
    """Parse the body of a chat completion.

    Raises:
        UserError: It is not JSON, or not a chat completion.
    """
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        raise UserError(
            f"the server's answer is not JSON (it begins with {text[:60]!r}); check that "
            "provider.base_url is the address of the API, usually ending in /v1"
        ) from None
    try:
        content = body["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        content = None
    if not isinstance(content, str) or not content.strip():
        raise UserError(
            "the server's answer holds no choices[0].message.content; check that the server is "
            "OpenAI-compatible and that provider.max_tokens leaves room for an answer"
        )
    usage = body.get("usage") if isinstance(body.get("usage"), dict) else {}
    counts = {
        name: usage[name]
        for name in ("prompt_tokens", "completion_tokens")
        if type(usage.get(name)) is int and usage[name] >= 0
    }
    named = body.get("model")
    return Reply(content, named if isinstance(named, str) and named else model, counts, text)


def retry_after_seconds(value: str | None) -> float | None:
    """Read a Retry-After header: seconds, or an HTTP date (RFC 9110, section 10.2.3)."""
    if value is None:
        return None
    if value.strip().isascii() and value.strip().isdigit():
        return float(value.strip()[:9])
    try:
        moment = parsedate_to_datetime(value)
    except (TypeError, ValueError, IndexError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _stored(log: Path | None, request: str) -> Reply | None:
    """Return the answer to a request that a log already holds and that can be read."""
    for record in reversed(read_lines(log) if log is not None else []):
        if record.get("request") == request and record.get("status") == 200:
            try:
                return parse_reply(str(record.get("raw")), str(record.get("model")))
            except UserError:
                continue
    return None


def _logged(request: str, answer: Answer, model: str) -> dict[str, Any]:
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "request": request,
        "model": model,
        "status": answer.status,
        "raw": answer.text,
    }


def _http_error(answer: Answer, config: OpenAIConfig) -> str:
    advice = {
        401: "name the environment variable that holds the key with provider.key_env=...",
        403: "check that the key in provider.key_env may use this model",
        404: "check provider.base_url (usually ending in /v1) and provider.model",
        429: "wait, or ask for a higher rate limit",
    }.get(answer.status, "check the server and the provider settings")
    if 300 <= answer.status < 400:
        advice = "redirects are not followed: set provider.base_url to the final address"
    said = " ".join(answer.text[:200].split())
    return f"the server at {config.base_url} answered HTTP {answer.status} ({said}); {advice}"


def _config(values: Mapping[str, Any]) -> OpenAIConfig:
    known = [entry.name for entry in fields(OpenAIConfig)]
    unknown = sorted(set(values) - set(known))
    missing = [name for name in ("base_url", "model") if not values.get(name)]
    if unknown or missing:
        problem = (
            f"unknown setting {unknown[0]!r}" if unknown else f"provider.{missing[0]} is missing"
        )
        raise UserError(f"{problem}; the openai provider takes: {', '.join(known)}")
    return build(OpenAIConfig, values, "provider")


def _checked_url(config: OpenAIConfig) -> str:
    try:
        parts = urlsplit(config.base_url)
        host, _ = parts.hostname, parts.port
        (host or "").encode("idna")  # as the resolver will; refuses a..b
        if not re.fullmatch(r"[!-~]*", parts.path):
            raise ValueError
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise UserError(
            "provider.base_url must look like http://127.0.0.1:8000/v1 or https://host/v1"
        )
    if parts.username is not None or parts.password is not None:
        raise UserError("provider.base_url holds a password; give the key by provider.key_env")
    if config.key_env is not None and parts.scheme == "http" and host not in LOOPBACK:
        raise UserError(
            f"the key would travel unencrypted to {host}; use https, or a tunnel to 127.0.0.1"
        )
    return config.base_url.rstrip("/") + "/chat/completions"
