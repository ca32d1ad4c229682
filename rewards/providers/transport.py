"""One bounded HTTP POST: a deadline for the whole call, a largest size, no redirects or retries."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from embodied.errors import UserError


class Limits(Protocol):
    """The bounds of one call."""

    @property
    def connect_timeout_s(self) -> float:
        """Seconds to open the connection."""
        ...

    @property
    def timeout_s(self) -> float:
        """Seconds for the whole call."""
        ...

    @property
    def max_response_bytes(self) -> int:
        """Largest body."""
        ...


@dataclass(frozen=True)
class Answer:
    """What a server sent, with the key struck out should the server have repeated it."""

    status: int
    text: str
    retry_after: str | None


def post(
    url: str, body: bytes, headers: Mapping[str, str], key: str | None, limits: Limits
) -> Answer:
    """Send JSON and return the answer, whatever its status.

    Args:
        url: Where to.
        body: The JSON.
        headers: What the wire format needs, with the key among it.
        key: What has to be struck out of the answer; None where no key was sent.
        limits: The bounds of the call.

    Raises:
        UserError: The server cannot be reached, is too slow, hangs up, or sends too much.
    """
    parts = urlsplit(url)
    host = parts.netloc
    sent = {"Content-Type": "application/json", "Accept": "application/json", **headers}
    connection = _connection(url, limits)
    try:
        with _deadline(connection, limits.timeout_s) as expired:
            try:
                connection.connect()
            except TimeoutError:
                raise UserError(
                    f"no connection to {host} within {limits.connect_timeout_s:g} s; check the "
                    "address, or raise provider.connect_timeout_s"
                ) from None
            if expired.is_set() or connection.sock is None:
                raise TimeoutError
            connection.sock.settimeout(limits.timeout_s)
            content, status, retry_after = _exchange(
                connection, parts.path, body, sent, limits.max_response_bytes
            )
            if expired.is_set():
                raise TimeoutError
    except (TimeoutError, OSError, http.client.HTTPException) as error:
        raise UserError(_reason(error, host, limits, expired.is_set())) from None
    finally:
        connection.close()
    if len(content) > limits.max_response_bytes:
        raise UserError(
            f"the answer of {host} is longer than {limits.max_response_bytes} bytes; check the "
            "address, or raise provider.max_response_bytes"
        )
    text = content.decode("utf-8", "replace")
    return Answer(status, strike(text, key) if key else text, retry_after)


def strike(text: str, key: str) -> str:
    """Strike a key of printable ASCII out of a text, also where JSON's escapes spell it."""
    spelled = "".join(map(_spellings, key))
    # Escapes that spell no key are read as one, so that no half of an escape is struck.
    found = re.compile(rf"({spelled})|\\(?:u[0-9A-Fa-f]{{4}}|.)", re.DOTALL)
    text = found.sub(lambda match: "***" if match[1] else match[0], text)
    return text.replace(key, "***")  # a text that is no JSON


def _spellings(character: str) -> str:
    """Return a pattern of what JSON strings write for a character (RFC 8259, section 7)."""
    forms = [rf"\\u00(?i:{ord(character):02x})"]
    if character not in '"\\':
        forms.append(re.escape(character))
    if character in '"\\/':
        forms.append(re.escape("\\" + character))
    return f"(?:{'|'.join(forms)})"


def _connection(url: str, limits: Limits) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    host = parts.hostname or ""
    seconds = min(limits.connect_timeout_s, limits.timeout_s)
    if parts.scheme == "https":
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(host, parts.port, timeout=seconds, context=context)
    return http.client.HTTPConnection(host, parts.port, timeout=seconds)


def _exchange(
    connection: http.client.HTTPConnection,
    path: str,
    body: bytes,
    headers: dict[str, str],
    max_bytes: int,
) -> tuple[bytes, int, str | None]:
    connection.request("POST", path, body=body, headers=headers)
    response = connection.getresponse()
    content = response.read(max_bytes + 1)
    if response.length and len(content) <= max_bytes:
        raise http.client.IncompleteRead(content)
    return content, response.status, response.getheader("Retry-After")


@contextmanager
def _deadline(connection: http.client.HTTPConnection, seconds: float) -> Iterator[threading.Event]:
    """Hang up at the deadline: socket timeouts start anew with every byte that drips in."""
    expired = threading.Event()

    def hang_up() -> None:
        expired.set()
        if connection.sock is not None:
            # The plain shutdown: the one of ssl also drops state that the other thread reads.
            with suppress(OSError):
                socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)

    timer = threading.Timer(seconds, hang_up)
    timer.daemon = True
    timer.start()
    try:
        yield expired
    finally:
        timer.cancel()


def _reason(error: Exception, host: str, limits: Limits, expired: bool) -> str:
    if expired or isinstance(error, TimeoutError):
        return (
            f"{host} did not answer within {limits.timeout_s:g} s; try again, or raise "
            "provider.timeout_s"
        )
    if isinstance(error, ConnectionRefusedError):
        return f"{host} refuses connections; start the server or mend provider.base_url"
    if isinstance(error, socket.gaierror):
        return f"the host {host} is unknown; mend provider.base_url"
    if isinstance(error, ssl.SSLError):
        return f"no secure connection to {host} ({error.reason}); mend its certificate or the URL"
    if isinstance(error, http.client.HTTPException | ConnectionError):
        return (
            f"{host} hung up before its answer was complete ({type(error).__name__}); "
            "look at the server's log and try again"
        )
    return f"cannot reach {host} ({type(error).__name__}); check the network and provider.base_url"
