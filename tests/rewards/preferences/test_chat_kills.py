"""Workers that label with a chat model and are killed at random moments lose and repeat nothing.

    python -m tests.rewards.preferences.test_chat_kills 200

does as many kills as one likes and prints what came of them.
"""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np

from rewards.label_store import LabelStore
from rewards.preferences import labelling
from rewards.preferences.chat import ChatSource
from rewards.preferences.source import Comparison, Side
from rewards.providers.base import read_lines
from rewards.providers.openai_http import OpenAIProvider
from tests.rewards.preferences.eyes import pixels
from tests.rewards.providers.conftest import Server, openai_body, write_answer

ROOT = Path(__file__).resolve().parents[3]
WORKERS = 4
LABELS = ("first", "second", "unsure")
NUMBERS = ("0", "1", "-1")
THINKING_S = 0.01  # of the model, for each reply
# Each worker has the comparisons in an order of its own, so that they seldom want the same one.
WORKER = """
import random, sys
from pathlib import Path
from rewards.label_store import LabelStore
from rewards.preferences import labelling
from tests.rewards.preferences.test_chat_kills import items, source_of

folder, url, count, begun = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
comparisons = items(count)
random.shuffle(comparisons)
store = LabelStore(folder / "labels.db")
labelling.label(comparisons, source_of(folder, url), store, progress=lambda _: begun.touch())
"""


def items(count):
    """Comparisons of images whose pixels tell their number."""
    sides = [np.full((1, 2, 2, 3), [n // 256, n % 256, 0], np.uint8) for n in range(count)]
    dark = Side("dark", np.zeros((1, 2, 2, 3), np.uint8))
    return [Comparison("go", Side(f"d:{n}", frames), dark) for n, frames in enumerate(sides)]


def source_of(folder, url):
    provider = OpenAIProvider({"base_url": url, "model": "m", "max_calls": 10**6})
    return ChatSource(provider, folder / "replies.jsonl")


class Model:
    """Answers, counts what it is asked, and sees what was on the disk by then."""

    def __init__(self, folder, comparisons):
        self.server = Server()
        self.server.choose = self.choose
        self.asked, self.repeated = Counter(), []
        self.log, self.read_to, self.logged = folder / "replies.jsonl", 0, set()
        self.store = LabelStore(folder / "labels.db")
        source = source_of(folder, self.server.url)
        self.keys = self.store.add(source.request(item) for item in comparisons)
        self.lock = threading.Lock()

    def choose(self, body):
        content = body["messages"][-1]["content"]
        if isinstance(content, str):
            number, stage = int(content.split("<")[1].split(">")[0]), 2
        else:
            first = next(part for part in content if part["type"] == "image_url")
            data = first["image_url"]["url"].removeprefix("data:image/png;base64,")
            high, low, _ = map(int, pixels({"data": data})[0, 0])
            number, stage = 256 * high + low, 1
        name = f"{number} {stage}"
        with self.lock:
            self.asked[name] += 1
            if name in self.on_disk() or self.store.answers(self.keys[number]):
                self.repeated.append(name)
        time.sleep(THINKING_S)
        reply = openai_body(f"<{number}>" if stage == 1 else NUMBERS[number % 3], id=name)
        return lambda handler: write_answer(handler, 200, reply, {})

    def on_disk(self):
        """Return the names of the replies that are in the log."""
        content = self.log.read_bytes()[self.read_to :] if self.log.exists() else b""
        whole = content.rfind(b"\n") + 1
        self.read_to += whole
        lines = (json.loads(line) for line in content[:whole].splitlines() if line)
        self.logged |= {json.loads(line["raw"])["id"] for line in lines}
        return self.logged


def start(folder, url, count, name, number):
    begun = folder / f"{name}-{number}.begun"
    command = [sys.executable, "-c", WORKER, str(folder), url, str(count), str(begun)]
    own = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=own), begun


def run(folder, kills, seed=0):
    """Label with four workers, killing one again and again, then to the end; return figures."""
    rng, count = random.Random(seed), 25 * kills + 200
    comparisons = items(count)
    model = Model(folder, comparisons)
    source = source_of(folder, model.server.url)
    workers = [start(folder, model.server.url, count, name, 0) for name in range(WORKERS)]
    labelled, killed = {}, 0
    while killed < kills:
        time.sleep(rng.uniform(0.0, 0.5))
        name = rng.randrange(WORKERS)
        worker, begun = workers[name]
        if not begun.exists() and rng.random() < 0.95:
            continue  # one in twenty is killed while it starts
        assert worker.poll() is None, "a worker ended before the questions did"
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        killed += 1
        workers[name] = start(folder, model.server.url, count, name, killed)
        model.store.parse(source.parser, source.read)
        now = {label.key: label.value for label in model.store.labels(source.parser)}
        assert now.items() >= labelled.items(), "a label was lost"
        labelled = now
    for worker, _ in workers:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    under_kills = sum(model.asked.values())
    found = labelling.label(comparisons, source, model.store, workers=WORKERS)
    figures = judge(folder, model, source, found, kills + WORKERS)
    model.server.close()
    model.store.close()
    return {**figures, "labels before the last kill": len(labelled), "calls by then": under_kills}


def judge(folder, model, source, found, kills):
    """Check what is left after the kills, with every comparison labelled; return figures."""
    assert found == [LABELS[number % 3] for number in range(len(found))]
    with sqlite3.connect(folder / "labels.db") as base:
        assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        kept = base.execute("SELECT count(*), count(DISTINCT question) FROM answer").fetchone()
    assert kept == (len(found), len(found)), "an answer was lost, or kept twice"
    assert len(model.store.labels(source.parser)) == len(found)
    assert model.repeated == [], "asked again although the answer was on the disk"
    names = [json.loads(line["raw"])["id"] for line in read_lines(folder / "replies.jsonl")]
    assert sorted(names) == sorted(set(model.asked)), "a reply was lost, or kept twice"
    assert len(names) == 2 * len(found)
    lost = sum(model.asked.values()) - len(names)
    assert lost <= kills, "more than the one reply in flight was lost"
    (spent,) = model.store.spent().values()
    assert (spent.calls, spent.tokens_in) == (len(found), 200 * len(found))
    return {"kills": kills, "calls": sum(model.asked.values()), "labels": len(found), "lost": lost}


def test_fifteen_kills_lose_and_repeat_nothing(tmp_path):
    assert run(tmp_path, 15)["labels before the last kill"] > 30, "they have to get somewhere"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        print(run(Path(temporary), int(sys.argv[1])))
