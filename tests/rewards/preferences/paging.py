"""A running page of ``embodied prefer``, with tiny clips, and a client of it."""

from __future__ import annotations

import http.client
import json
import threading
from contextlib import contextmanager
from urllib.parse import urlsplit

import numpy as np

from embodied.errors import UserError
from embodied.files import sha256_bytes
from rewards.label_store import LabelStore
from rewards.preferences.page import serve
from rewards.preferences.person import PersonSource
from rewards.preferences.source import Comparison, Side

PAIRS = [(f"d:{2 * i}:4", f"d:{2 * i + 1}:4") for i in range(12)]
WAIT_S = 120.0  # for what comes at once on a machine that is not hung


def frames(name):
    """Four frames in a colour of their own, uint8 [4, 16, 16, 3]."""
    images = np.zeros((4, 16, 16, 3), np.uint8)
    images[:] = np.frombuffer(bytes.fromhex(sha256_bytes(name.encode())[:6]), np.uint8)
    return images


class Page:
    """A command that serves, and a client of it."""

    def __init__(self, store, pairs=PAIRS, **options):
        self.result, self.error = None, None
        told, ready = [], threading.Event()

        def announce(url):
            told.append(url)
            ready.set()

        def run():
            settings = {"fps": 10, "attention_every": 4, "announce": announce, "linger_s": WAIT_S}
            try:
                self.result = serve("be bright", pairs, frames, store, **(settings | options))
            except UserError as error:
                self.error = error
            finally:
                ready.set()

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()
        assert ready.wait(WAIT_S)
        if told:
            self.url = told[0]
            self.host, self.root = urlsplit(told[0]).netloc, urlsplit(told[0]).path

    def ask(self, path, method="GET", body=None, **headers):
        """Return (status, headers, body) of one request."""
        connection = http.client.HTTPConnection(self.host, timeout=WAIT_S)
        try:
            connection.request(method, path, body, headers)
            reply = connection.getresponse()
            return reply.status, reply.headers, reply.read()
        finally:
            connection.close()

    def post(self, path, value, **headers):
        kind = {"Content-Type": "application/json"}
        status, _, body = self.ask(
            f"{self.root}{path}", "POST", json.dumps(value), **kind, **headers
        )
        return status, json.loads(body)

    def state(self):
        return json.loads(self.ask(f"{self.root}state")[2])

    def answer(self, pressed="left", seconds=1.5):
        """Answer the next pair as the page does; return what the page is told."""
        at = self.state()["position"]
        status, state = self.post(
            "answer", {"position": at, "pressed": pressed, "seconds": seconds}
        )
        assert status == 200
        return state

    def end(self):
        assert self.post("finish", {})[0] == 200
        self.thread.join(WAIT_S)
        assert not self.thread.is_alive()
        return self.result

    def close(self):
        """End what still runs, by answering what is left."""
        while self.thread.is_alive() and self.state()["state"] != "done":
            self.answer("skip")
        if self.thread.is_alive():
            self.end()


@contextmanager
def pages(store):
    """Yield what opens a page on a store; all of them are closed in the end."""
    opened = []

    def start(**options):
        opened.append(Page(store, **options))
        return opened[-1]

    yield start
    for page in opened:
        page.close()


def comparison(first, second):
    return Comparison("be bright", *(Side(name, frames(name)) for name in (first, second)))


def labels(path, pairs=PAIRS):
    """Return what training would read: the source's labels of the pairs."""
    store = LabelStore(path)
    source = PersonSource()
    keys = store.add(source.request(comparison(*pair)) for pair in pairs)
    answered = len(pairs) - len(store.unanswered(keys))
    store.parse(source.parser, source.read)
    found = {item.key: item.value for item in store.labels(source.parser, keys)}
    store.close()
    assert len(found) == answered
    return [found.get(key) for key in keys]
