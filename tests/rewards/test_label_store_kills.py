"""Workers of a labelling run that are killed at random moments lose and repeat nothing.

    python -m tests.rewards.test_label_store_kills 200

does as many kills as one likes and prints what came of them.
"""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

from rewards.label_records import Answer
from rewards.label_store import LabelStore

ROOT = Path(__file__).resolve().parents[2]
WORKERS = 4
# Asks, answers and labels leave a line each in a log of their own. A line that says "asked" is on
# the disk before the asking begins; the others are written once the store has returned.
WORKER = """
import os, sys, time
from pathlib import Path
from rewards.label_records import Answer
from rewards.label_store import LabelStore

folder, name = Path(sys.argv[1]), sys.argv[2]
store = LabelStore(folder / "labels.db")
log = os.open(folder / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def say(*words):
    os.write(log, (" ".join(words) + "\\n").encode())
    os.fsync(log)

while claimed := store.claim(name, 4, 3600):
    for question in claimed:
        say("asked", question.key, str(time.time_ns()))
        time.sleep(0.004)
        store.keep(question.key, Answer("1", model=name, cost=1.0))
        say("answered", question.key, str(time.time_ns()))
        store.parse("number 1", str)
        say("labelled", question.key, str(time.time_ns()))
"""


def start(folder, name):
    command = [sys.executable, "-c", WORKER, str(folder), name]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)})


def run(folder, kills, seed=0):
    """Label with four workers, killing one again and again; return (lines of the logs, kills)."""
    rng = random.Random(seed)
    store = LabelStore(folder / "labels.db")
    store.add({"pair": number} for number in range(60 * kills + 200))
    names = [str(number) for number in range(WORKERS)]
    workers = {name: start(folder, name) for name in names}
    killed = 0
    while killed < kills:
        time.sleep(rng.uniform(0.0, 0.25))
        name = rng.choice(names)
        log = folder / f"{name}.log"
        if not log.is_file():
            continue  # it has not begun yet
        assert workers[name].poll() is None, "a worker ended before the questions did"
        workers[name].send_signal(signal.SIGKILL)
        workers[name].wait()
        log.rename(folder / f"{name}-{killed}.done")
        killed += 1
        store.release(name)
        workers[name] = start(folder, name)
    for name, worker in workers.items():
        worker.send_signal(signal.SIGKILL)  # and no more: what is left open stays open
        worker.wait()
        store.release(name)
    store.close()
    logs = [*folder.glob("*.done"), *folder.glob("*.log")]
    lines = [line.split() for path in logs for line in path.read_text().splitlines()]
    return [(kind, key, int(when)) for kind, key, when in lines], killed + WORKERS


def judge(folder, lines, kills):
    """Check what is left after the kills; return figures."""
    with sqlite3.connect(folder / "labels.db") as base:
        assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        kept = dict(base.execute("SELECT question, min(time) FROM answer GROUP BY question"))
    store = LabelStore(folder / "labels.db")
    of_kind = defaultdict(list)
    for kind, key, _ in lines:
        of_kind[kind].append(key)
    asked = Counter(of_kind["asked"])
    stored = {key for key in asked if store.answers(key)}
    assert stored >= set(of_kind["answered"]), "a stored answer was lost"
    labelled = {item.key for item in store.labels("number 1")}
    assert labelled >= set(of_kind["labelled"]), "a stored label was lost"
    asks = ((key, when / 1e9) for kind, key, when in lines if kind == "asked")
    repeated = [key for key, when in asks if when > kept.get(key, when)]
    assert repeated == [], "asked again although the answer was stored"
    assert all(len(store.answers(key)) <= 1 for key in asked)
    lost = sum(asked.values()) - len(stored)
    assert lost <= kills, "more than the one answer in flight was lost"
    assert store.spent()
    store.parse("number 1", str)  # what a kill left unread is read without asking
    assert {item.key for item in store.labels("number 1")} == stored
    store.keep(store.add([{"pair": -1}])[0], Answer("1"))
    store.close()
    return {"kills": kills, "asked": sum(asked.values()), "answers": len(stored), "lost": lost}


def test_twenty_kills_lose_and_repeat_nothing(tmp_path):
    lines, kills = run(tmp_path, 20)
    found = judge(tmp_path, lines, kills)
    assert found["answers"] > 100, "the workers have to get somewhere"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        print(judge(Path(temporary), *run(Path(temporary), int(sys.argv[1]))))
