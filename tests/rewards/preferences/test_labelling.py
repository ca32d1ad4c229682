"""Labelling through the store: asked once, shared between threads and processes, failures kept."""

import os
import socket
import subprocess
import sys
import threading

import numpy as np
import pytest

from embodied.errors import UserError
from rewards.label_records import Answer
from rewards.label_store import LabelStore
from rewards.preferences import labelling
from rewards.preferences.source import Comparison, PreferenceSource, Side


class Larger:
    """Prefers the larger value and counts what it is asked."""

    name = "larger"
    parser = "larger 1"
    batch = 3

    def __init__(self, fails=(), stops_after=None):
        self.asked = []
        self.fails, self.stops_after = fails, stops_after
        self._lock = threading.Lock()

    def request(self, comparison):
        return {"source": "larger", "sides": [comparison.first.name, comparison.second.name]}

    def answer(self, comparisons):
        with self._lock:
            if self.stops_after is not None and len(self.asked) >= self.stops_after:
                raise UserError("the spend cap is reached; raise it")
            self.asked += [item.first.name for item in comparisons]
        return [self._one(item) for item in comparisons]

    def _one(self, item):
        if item.first.name in self.fails:
            return Answer("busy", status=503, model="m")
        return Answer("first" if item.first.value > item.second.value else "second", model="m")

    def read(self, raw):
        if raw not in ("first", "second"):
            raise ValueError(f"{raw} is no preference")
        return raw


def side(name, value):
    return Side(name, np.zeros((0, 1, 1, 3), np.uint8), value)


def comparisons(count):
    return [
        Comparison("be large", side(f"a{i}", float(i % 3)), side(f"b{i}", 1.5))
        for i in range(count)
    ]


@pytest.fixture(name="store")
def _store(tmp_path):
    made = LabelStore(tmp_path / "labels.db")
    yield made
    made.close()


WANTED = ["second", "second", "first"] * 10


@pytest.mark.parametrize("workers", [1, 4])
def test_every_comparison_is_answered_once(store, workers):
    source = Larger()
    assert isinstance(source, PreferenceSource)
    assert labelling.label(comparisons(30), source, store, workers=workers) == WANTED
    assert sorted(source.asked) == sorted(f"a{i}" for i in range(30))
    again = Larger()
    assert labelling.label(comparisons(30), again, store, workers=workers) == WANTED
    assert again.asked == []


def test_equal_comparisons_are_asked_once(store):
    source = Larger()
    assert labelling.label(comparisons(3) * 4, source, store) == WANTED[:12]
    assert len(source.asked) == 3


def test_one_that_fails_is_tried_once_a_call_and_takes_no_other_with_it(store):
    source = Larger(fails=("a4",))
    found = labelling.label(comparisons(9), source, store, workers=2)
    assert found == [*WANTED[:4], None, *WANTED[5:9]]
    assert len(source.asked) == 9
    mended = Larger()
    assert labelling.label(comparisons(9), mended, store) == WANTED[:9]
    assert mended.asked == ["a4"]


def test_a_source_that_stops_keeps_what_was_answered(store):
    with pytest.raises(UserError, match="spend cap"):
        labelling.label(comparisons(30), Larger(stops_after=12), store, workers=3)
    assert 12 <= 30 - len(store.unanswered()) < 30
    assert store.claimants() == []
    rest = Larger()
    assert labelling.label(comparisons(30), rest, store) == WANTED
    assert len(rest.asked) <= 18


def test_progress_tells_of_every_comparison(store):
    told = []
    labelling.label(comparisons(10), Larger(), store, workers=2, progress=told.append)
    assert sum(told) == 10


def test_claims_of_a_dead_process_are_taken_over_and_those_of_a_living_one_are_not(store):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    keys = store.add(Larger().request(item) for item in comparisons(4))
    dead = f"{socket.gethostname()}:{ended.pid}:0"
    living = f"{socket.gethostname()}:{os.getppid()}:0"
    elsewhere = f"another-{socket.gethostname()}:{ended.pid}:0"
    for worker, key in zip((dead, living, elsewhere), keys, strict=False):
        store.claim(worker, 1, 3600, [key])
    labelling.release_dead(store)
    assert sorted(store.claimants()) == sorted((living, elsewhere))


def test_it_waits_for_what_another_process_is_being_answered(store):
    source = Larger()
    keys = store.add(source.request(item) for item in comparisons(5))
    other = f"{socket.gethostname()}:{os.getppid()}:0"
    assert len(store.claim(other, 2, 3600, keys[:2])) == 2

    def answer_late():
        store.keep_many([(key, Answer("first", model="other")) for key in keys[:2]])

    timer = threading.Timer(0.5, answer_late)
    timer.start()
    found = labelling.label(comparisons(5), source, store)
    timer.join()
    assert found == ["first", "first", *WANTED[2:5]]
    assert sorted(source.asked) == ["a2", "a3", "a4"]
