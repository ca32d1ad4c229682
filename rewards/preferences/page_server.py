"""A small server of the page for this machine alone, in the standard library's terms.

Only who has the address that the command prints can use it: its first part is a random word. A
request with another ``Host`` is refused, so that no page from elsewhere reaches the server under a
name of its own, and the page itself loads nothing but what is served here. An answer is in the
label store before the page is told what comes next.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
import socketserver
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any

from embodied.errors import UserError
from rewards.preferences.sitting import PRESSED, Sitting

MAX_BODY = 1024  # bytes of a request's body
SOCKET_TIMEOUT_S = 30.0  # for a request that does not come to its end
POLL_S = 10.0  # how long a question for the next pair waits until that is ready
STATIC = {
    "": ("index.html", "text/html; charset=utf-8"),
    "style.css": ("style.css", "text/css; charset=utf-8"),
    "script.js": ("script.js", "text/javascript; charset=utf-8"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; media-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
MAX_SECONDS = 1e9  # that an answer can have taken


class PageServer(ThreadingHTTPServer):
    """Serves one sitting while it is entered.

    Args:
        sitting: What is asked.
        host: Address to listen at, one of this machine.
        port: Port, 0 for any that is free.
        speed: Told on the page.

    Raises:
        UserError: The address cannot be listened at.
    """

    daemon_threads = True  # a browser keeps connections open

    def __init__(self, sitting: Sitting, host: str, port: int, speed: float = 1.0) -> None:
        if host in ("", "0.0.0.0"):
            raise UserError(f"host is {host!r}, which is every address; name one, as 127.0.0.1")
        self.sitting, self.speed, self.token = sitting, speed, secrets.token_urlsafe(16)
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise UserError(
                f"the page cannot be served at {host}, port {port} ({error}); give another port"
            ) from None
        port = self.server_address[1]
        self.hosts = {f"{name}:{port}" for name in (host, "127.0.0.1", "localhost")}
        self.url = f"http://{host}:{port}/{self.token}/"
        folder = files("rewards.preferences").joinpath("page")
        self.static = {
            path: (folder.joinpath(name).read_bytes(), kind)
            for path, (name, kind) in STATIC.items()
        }

    def server_bind(self) -> None:
        """Listen, without asking a name server for the name of this machine."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def __enter__(self) -> PageServer:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that went away; every other error is a bug of ours."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    def state(self) -> dict[str, Any]:
        """Return what the page shows now."""
        sitting = self.sitting
        position, ready = sitting.position, sitting.ready
        done = position == sitting.total
        return {
            "instruction": sitting.instruction,
            "state": "done" if done else "ask" if position < ready else "wait",
            "position": position,
            "ready": ready,
            "total": sitting.total,
            "speed": self.speed,
            "summary": sitting.summary() if done else None,
        }


class _Refused(Exception):
    """A request that is not served: the status and one line why."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: PageServer
    protocol_version = "HTTP/1.1"  # with ranges, and connections that stay open
    server_version, sys_version = "embodied", ""
    timeout = SOCKET_TIMEOUT_S

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the terminal belongs to the command."""

    def do_GET(self) -> None:
        """Serve the page, what it shows, and the clips."""
        self._guarded(self._get)

    def do_HEAD(self) -> None:
        """Serve the headers of a GET alone."""
        self._guarded(self._get)

    def do_POST(self) -> None:
        """Take an answer, take one back, or end."""
        self._guarded(self._post)

    def _guarded(self, serve: Callable[[str], None]) -> None:
        try:
            serve(self._path())
        except _Refused as refused:
            self.close_connection = True  # its body may not have been read
            self._json({"error": refused.reason}, refused.status)

    def _path(self) -> str:
        """Return what follows the token."""
        if self.headers.get("Host") not in self.server.hosts:
            raise _Refused(403, "this name is not served")
        origin = self.headers.get("Origin")
        if origin is not None and origin.removeprefix("http://") not in self.server.hosts:
            raise _Refused(403, "this page may not ask")
        token, slash, rest = self.path.removeprefix("/").partition("/")
        if not (slash and hmac.compare_digest(token.encode(), self.server.token.encode())):
            raise _Refused(404, "open the address that the command printed")
        return rest

    def _get(self, path: str) -> None:
        sitting = self.server.sitting
        if path in self.server.static:
            self._send(*self.server.static[path])
        elif path == "state":
            sitting.wait(lambda: sitting.done or sitting.position < sitting.ready, POLL_S)
            self._json(self.server.state())
        elif found := re.fullmatch(r"clip/(\d{1,6})/(left|right)\.mp4", path):
            clip = sitting.clip(int(found[1]), "left" if found[2] == "left" else "right")
            if clip is None:
                raise _Refused(404, "no such clip")
            self._send(clip.read_bytes(), "video/mp4", ranges=True)
        else:
            raise _Refused(404, "nothing is here")

    def _post(self, path: str) -> None:
        sitting, body = self.server.sitting, self._body()
        try:
            if path == "answer":
                kept = sitting.answer(*_answer(body))
            elif path == "undo":
                kept = sitting.undo(_position(body))
            elif path == "finish":
                kept = sitting.done
            else:
                raise _Refused(404, "nothing is here")
        except UserError as error:
            raise _Refused(500, str(error)) from None
        self._json(self.server.state(), 200 if kept else 409)
        if path == "finish" and kept:  # when the page has been told
            sitting.finish()

    def _body(self) -> dict[str, Any]:
        length = self.headers.get("Content-Length", "")
        if "Transfer-Encoding" in self.headers or not re.fullmatch(r"[0-9]{1,9}", length):
            raise _Refused(411, "a request needs its length")
        if int(length) > MAX_BODY:
            raise _Refused(413, f"a request has at most {MAX_BODY} bytes")
        if self.headers.get_content_type() != "application/json":
            raise _Refused(415, "a request is JSON")
        try:
            value = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            raise _Refused(400, "a request is JSON") from None
        if not isinstance(value, dict):
            raise _Refused(400, "a request is a JSON object")
        return value

    def _json(self, value: Any, status: int = 200) -> None:
        self._send(json.dumps(value).encode(), "application/json", status)

    def _send(self, content: bytes, kind: str, status: int = 200, ranges: bool = False) -> None:
        headers = {**HEADERS, "Content-Type": kind}
        if ranges:
            headers["Accept-Ranges"] = "bytes"
            part = _range(self.headers.get("Range", ""), len(content))
            if part is not None and part.start >= part.stop:
                status, headers["Content-Range"] = 416, f"bytes */{len(content)}"
                content = b""
            elif part is not None:
                status = 206
                headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{len(content)}"
                content = content[part.start : part.stop]
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _range(header: str, size: int) -> range | None:
    """Return the bytes that a ``Range`` header asks for, empty where there are none of them.

    None where it asks for no single range, and so is to be ignored (RFC 9110, section 14.2).
    """
    found = re.fullmatch(r"bytes=([0-9]{0,18})-([0-9]{0,18})", header.replace(" ", ""))
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        return range(max(0, size - int(found[2])), size)
    first, end = int(found[1]), min(int(found[2]) + 1, size) if found[2] else size
    return None if found[2] and int(found[2]) < first else range(first, end)


def _position(body: dict[str, Any]) -> int:
    position = body.get("position")
    if not isinstance(position, int) or isinstance(position, bool):
        raise _Refused(400, "position is a whole number")
    return position


def _answer(body: dict[str, Any]) -> tuple[int, str, float]:
    """Return the position, what was pressed, and how long it took in s."""
    pressed, seconds = body.get("pressed"), body.get("seconds")
    if pressed not in PRESSED:
        raise _Refused(400, f"pressed is one of {', '.join(PRESSED)}")
    # Python's reader of JSON lets infinity and NaN through.
    if not isinstance(seconds, int | float) or not 0 <= seconds <= MAX_SECONDS:
        raise _Refused(400, "seconds is a number from 0")
    return _position(body), pressed, float(seconds)
