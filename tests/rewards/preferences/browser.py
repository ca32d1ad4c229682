"""Headless Chromium, driven over the DevTools protocol by a pipe: no port, no further package."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import subprocess
import threading
from collections import deque

WAIT_S = 120.0  # for what comes soon on a machine that is not hung
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--remote-debugging-pipe", "--window-size=1280,860"),
    # Nothing but this machine can be reached, whatever the browser would like to.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


class Browser:
    """One tab of a browser with a profile of its own.

    Attributes:
        complaints: What the page wrote to its console as an error, or threw.
        requests: The addresses that were asked for.
    """

    def __init__(self, program, profile):
        self.complaints, self.requests = [], []
        # Above the numbers that the browser expects them under.
        there, mine = (fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in os.pipe())
        back, theirs = (fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in os.pipe())
        script = f'exec "$@" 3<&{there} 4>&{theirs}'
        self._process = subprocess.Popen(
            ["bash", "-c", script, "-", program, *FLAGS, f"--user-data-dir={profile}"],
            pass_fds=(there, theirs),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(there)
        os.close(theirs)
        self._to, self._from = os.fdopen(mine, "wb", buffering=0), os.fdopen(back, "rb")
        self._replies, self._events = {}, deque(maxlen=1000)
        self._came, self._number, self._session = threading.Condition(), 0, None
        threading.Thread(target=self._read, daemon=True).start()
        tab = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=tab, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def _read(self):
        rest = b""
        while part := os.read(self._from.fileno(), 2**16):
            *messages, rest = (rest + part).split(b"\0")
            for text in messages:
                self._take(json.loads(text))
        with self._came:
            self._replies[None] = {"error": "the browser has ended"}
            self._came.notify_all()

    def _take(self, message):
        with self._came:
            if "id" in message:
                self._replies[message["id"]] = message
            method, told = message.get("method"), message.get("params", {})
            if method == "Network.requestWillBeSent":
                self.requests.append(told["request"]["url"])
            elif method == "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(told["exceptionDetails"]))
            elif method == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
                self.complaints.append(f"{told['entry']['text']} {told['entry'].get('url')}")
            elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning"):
                self.complaints.append(json.dumps(told["args"]))
            self._came.notify_all()

    def call(self, method, **parameters):
        """Call a method of the protocol and return its result."""
        with self._came:
            self._number += 1
            number = self._number
        message = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        self._to.write(json.dumps(message).encode() + b"\0")
        with self._came:
            assert self._came.wait_for(lambda: {number, None} & set(self._replies), WAIT_S), method
            reply = self._replies.pop(number, None) or self._replies[None]
        assert "error" not in reply, (method, reply["error"])
        return reply["result"]

    def value(self, script):
        """Return the value of an expression, or of what it promises, in the page."""
        told = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def open(self, url):
        """Go to an address."""
        self.call("Page.navigate", url=url)

    def wait(self, condition):
        """Wait until an expression is true in the page; it is looked at with every frame."""
        self.value(
            "new Promise((resolve) => { const look = () => "
            f"({condition}) ? resolve(true) : setTimeout(look, 10); look(); }})"
        )

    def press(self, key):
        """Press and release a key."""
        text = {"Enter": "\r"}.get(key, key)
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, text=text * (kind == "keyDown"))

    def screenshot(self, path):
        """Write what is seen as a PNG."""
        told = self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(told["data"]))

    def close(self):
        """End the browser and all that it started."""
        self._session = None
        try:
            self.call("Browser.close")
        except (AssertionError, OSError):
            self._process.kill()
        self._process.wait()
        self._to.close()
