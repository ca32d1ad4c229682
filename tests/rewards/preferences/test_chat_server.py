"""Chat models behind a server that goes wrong, through the whole of the labelling."""

import json
from collections import Counter

import numpy as np
import pytest

from embodied.errors import UserError
from rewards.label_store import LabelStore
from rewards.preferences import labelling
from rewards.preferences.chat import ChatSource
from rewards.preferences.source import Comparison, Side
from rewards.providers.anthropic_http import AnthropicProvider
from rewards.providers.openai_http import OpenAIProvider
from tests.rewards.preferences.eyes import pixels
from tests.rewards.providers import conftest as parts
from tests.rewards.providers.test_real_server import free_port

LABELS = ("first", "second", "unsure")
NUMBERS = ("0", "1", "-1")
# What goes wrong with a comparison, by its number; one that is good stands between.
FAULTS = (
    *("good", "429 first", "503 second", "truncated", "endless", "schema", "good", "refusal"),
    *("prose", "429 always", "400", "good"),
)
FAILS = {"truncated": 0, "endless": 0, "schema": 0, "429 always": 429, "400": 400}
UNREAD = ("refusal", "prose")
RETRIES = 2
PRICES = {"input_price": 3.0, "output_price": 15.0}


def items(count):
    """Comparisons of images whose pixels tell their number."""
    return [
        Comparison(
            "stand up",
            Side(f"a{n}", np.full((1, 8, 8, 3), 2 * n, np.uint8)),
            Side(f"b{n}", np.full((1, 8, 8, 3), 2 * n + 1, np.uint8)),
        )
        for n in range(count)
    ]


@pytest.fixture(name="server")
def _server():
    running = parts.Server()
    yield running
    running.close()


@pytest.fixture(name="store")
def _store(tmp_path):
    made = LabelStore(tmp_path / "labels.db")
    yield made
    made.close()


class Labeller:
    """Answers both stages of a comparison, or goes wrong as ``FAULTS`` says."""

    def __init__(self, server, wire):
        self.server, self.wire, self.broken = server, wire, True
        self.asked = Counter()
        server.choose = self.choose

    def choose(self, body):
        number, stage = self.which(body)
        with self.server.lock:
            self.asked[number, stage] += 1
            times = self.asked[number, stage]
        text = f"<{number}> and another" if stage == 1 else NUMBERS[number % 3]
        good = self.wire.body(text)
        fault = FAULTS[number % len(FAULTS)] if self.broken else "good"
        again = {"429 first": (1, 429), "503 second": (2, 503)}.get(fault)
        if again is not None and stage == again[0] and times == 1:
            return self.write(again[1], b"slow down", Retry_After="7")
        if fault in ("429 always", "400"):
            return self.write(int(fault[:3]), b"no")
        if fault == "schema":
            return self.write(200, b'{"choices": [], "content": {}}')
        if stage == 2 and fault == "endless":
            return self.endless(good)
        if stage == 2 and fault == "truncated":
            return self.write(200, good[:-20])
        if stage == 2 and fault in UNREAD:
            words = {"refusal": "I cannot help with that.", "prose": "Image 1 looks nicer to me."}
            return self.write(200, self.wire.body(words[fault]))
        return self.write(200, good)

    @staticmethod
    def which(body):
        """Return the number of the comparison that is asked for, and the stage."""
        content = body["messages"][-1]["content"]
        if isinstance(content, str):
            return int(content.split("<")[1].split(">")[0]), 2
        images = [part for part in content if part["type"] in ("image", "image_url")]
        if not images:
            return int(content[0]["text"].split("<")[1].split(">")[0]), 2
        found = [
            part["source"]["data"]
            if part["type"] == "image"
            else part["image_url"]["url"].removeprefix("data:image/png;base64,")
            for part in images
        ]
        first, second = (int(pixels({"data": data}).max()) for data in found)
        assert second == first + 1
        return first // 2, 1

    @staticmethod
    def write(status, body, **headers):
        return lambda handler: parts.write_answer(handler, status, body, headers)

    def endless(self, body):
        """The headers come, and half of the body, and no more."""

        def write(handler):
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body[: len(body) // 2])
            handler.wfile.flush()
            self.server.stop.wait(60)

        return write


@pytest.fixture(name="make")
def _make(server, tmp_path):
    """Return a function that makes a source of a new provider; its waits are not slept."""

    def run(wire, **settings):
        known = {"base_url": server.url, "model": "asked-model", "timeout_s": 5.0}
        waits = []
        limits = {"max_calls": 10_000, "max_retries": RETRIES, **PRICES}
        provider = wire.provider({**known, **limits, **settings}, sleep=waits.append)
        source = ChatSource(provider, tmp_path / "replies.jsonl", failures=1000)
        source.waits = waits
        return source

    return run


@pytest.mark.parametrize("name", sorted(parts.FORMATS))
def test_a_faulty_server_costs_what_it_has_to_and_nothing_twice(server, make, store, name):
    wire = parts.FORMATS[name]
    served, asked = Labeller(server, wire), items(len(FAULTS))
    faults = dict(enumerate(FAULTS))
    wanted = [
        None if fault in FAILS or fault in UNREAD else LABELS[n % 3] for n, fault in faults.items()
    ]
    source = make(wire)
    assert labelling.label(asked, source, store, workers=4) == wanted

    tries = {
        "429 first": (2, 1),
        "503 second": (1, 2),
        "schema": (1, 0),
        "429 always": (1 + RETRIES, 0),
        "400": (1, 0),
    }
    for n, fault in faults.items():
        assert (served.asked[n, 1], served.asked[n, 2]) == tries.get(fault, (1, 1)), fault
    assert source.waits.count(7.0) == 2
    keys = [store.add([source.request(item)])[0] for item in asked]
    statuses = [[answer.status for answer in store.answers(key)] for key in keys]
    assert statuses == [[FAILS.get(fault, 200)] for fault in FAULTS]
    reasons = {key: label.reason for label in store.labels(source.parser) for key in [label.key]}
    assert "I cannot help" in reasons[keys[FAULTS.index("refusal")]]
    assert "Image 1 looks" in reasons[keys[FAULTS.index("prose")]]
    told = {f: store.answers(keys[n])[0].raw for n, f in faults.items() if f in FAILS}
    assert "not JSON" in told["truncated"]
    assert "did not answer within" in told["endless"]
    assert wire.no_text in told["schema"]
    spent(store, len(FAULTS) - len(FAILS), len(FAILS))

    # The server is mended: what failed is asked again, and of it no first stage that was answered.
    served.broken, before = False, Counter(served.asked)
    again = make(wire)
    wanted = [None if fault in UNREAD else LABELS[n % 3] for n, fault in faults.items()]
    assert labelling.label(asked, again, store, workers=4) == wanted
    more = served.asked - before
    for n, fault in faults.items():
        once = {"truncated": (0, 1), "endless": (0, 1)}.get(fault, (1, 1))
        assert (more[n, 1], more[n, 2]) == (once if fault in FAILS else (0, 0)), fault
    spent(store, len(FAULTS), len(FAILS))

    before = sum(served.asked.values())
    assert labelling.label(asked, make(wire), store, workers=4) == wanted
    assert sum(served.asked.values()) == before


def spent(store, answered, failed):
    """Check the ledger: two calls of 100 and 50 tokens an answer, and nothing for a failure."""
    ledger = store.spent()
    good, bad = ledger["served-model"], ledger["asked-model"]
    assert (good.calls, good.tokens_in, good.tokens_out) == (
        answered,
        200 * answered,
        answered * 100,
    )
    assert good.cost == pytest.approx(answered * (200 * 3.0 + 100 * 15.0) / 1e6)
    assert (bad.calls, bad.tokens_in, bad.tokens_out, bad.cost) == (failed, 0, 0, 0.0)


def test_a_key_that_is_refused_ends_the_run_and_keeps_what_was_answered(server, make, store):
    served = Labeller(server, parts.FORMATS["openai"])
    served.broken = False
    refuse = Labeller.write(401, b"this key has expired")
    server.choose = lambda body: refuse if len(server.requests) > 20 else served.choose(body)
    with pytest.raises(UserError, match=r"HTTP 401 \(this key has expired\)"):
        labelling.label(items(30), make(parts.FORMATS["openai"]), store, workers=4)
    assert len(server.requests) <= 24
    assert len(store.unanswered()) < 30
    assert store.claimants() == []
    server.choose = served.choose
    found = labelling.label(items(30), make(parts.FORMATS["openai"]), store, workers=4)
    assert found == [LABELS[n % 3] for n in range(30)]
    assert set(served.asked.values()) == {1}


def test_a_cap_ends_the_run_and_a_higher_one_goes_on(server, make, store):
    served = Labeller(server, parts.FORMATS["openai"])
    served.broken = False
    with pytest.raises(UserError, match="cap of 21 calls is reached"):
        labelling.label(items(30), make(parts.FORMATS["openai"], max_calls=21), store, workers=4)
    assert sum(served.asked.values()) == 21
    found = labelling.label(items(30), make(parts.FORMATS["openai"]), store, workers=4)
    assert found == [LABELS[n % 3] for n in range(30)]
    assert set(served.asked.values()) == {1}
    assert sum(served.asked.values()) == 60


def test_a_server_that_is_down_is_told_after_a_few(store, tmp_path):
    provider = OpenAIProvider({"base_url": f"http://127.0.0.1:{free_port()}/v1", "model": "m"})
    source = ChatSource(provider, tmp_path / "replies.jsonl", failures=5)
    with pytest.raises(UserError, match=r"5 comparisons in a row .* start the server"):
        labelling.label(items(30), source, store)
    assert store.spent()["m"].calls == 5


@pytest.mark.parametrize("maker", [OpenAIProvider, AnthropicProvider])
def test_no_key_stands_in_a_request_or_in_a_file(server, tmp_path, store, monkeypatch, maker):
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    wire = parts.FORMATS[maker.__name__.removesuffix("Provider").lower()]
    served = Labeller(server, wire)
    served.broken = False
    settings = {"base_url": server.url, "model": "m", "key_env": "MY_KEY"}
    source = ChatSource(maker(settings), tmp_path / "replies.jsonl")
    assert labelling.label(items(1), source, store) == ["first"]
    assert "MY_KEY" not in json.dumps(source.request(items(1)[0]))
    for path in tmp_path.iterdir():
        assert b"sk-very-secret" not in path.read_bytes()
