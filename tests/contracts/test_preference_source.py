"""What every source of preferences keeps to. To hold yours to it, add a line to ``SOURCES``."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rewards.label_records import ANSWERED, Answer, canonical
from rewards.preferences.chat import ChatSource
from rewards.preferences.looking import ClipSource
from rewards.preferences.oracle import OracleSource
from rewards.preferences.source import PREFERENCES, Comparison, PreferenceSource, Side
from rewards.providers.base import Budget, Reply


class Scripted:
    """A provider that says 1 to everything."""

    name = "scripted"

    def __init__(self):
        self.budget = Budget()

    def complete(self, messages, log=None, sample=0):
        return Reply("1", "scripted", {}, "1")

    def complete_many(self, questions, log=None, samples=None):
        return [self.complete(question) for question in questions]


class Brightness:
    """A model in the place of ``Clip``: a picture's vector turns with its mean."""

    name, sha256 = "brightness", "0" * 64

    def unknown_words(self, sentence):
        return []

    def texts(self, sentences):
        return self._turned(np.arange(len(sentences)))

    def images(self, pictures):
        return self._turned(pictures.reshape(len(pictures), -1).mean(1) / 255)

    def _turned(self, angles):
        return np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)


# Each makes a source that answers every comparison, and is given a folder for its files.
SOURCES = {
    "chat": lambda folder: ChatSource(Scripted(), folder / "replies.jsonl"),
    "chat, both orders": lambda folder: ChatSource(
        Scripted(), folder / "replies.jsonl", order_swap=True, batch=4
    ),
    "clip": lambda folder: ClipSource(Brightness(), "stand up", baseline="a scene"),
    "oracle": lambda folder: OracleSource([1.0, 2.0, 5.0]),
    "oracle with errors": lambda folder: OracleSource([1.0, 2.0, 5.0], "drawer"),
}


@pytest.fixture(params=sorted(SOURCES))
def source(request, tmp_path) -> PreferenceSource:
    return SOURCES[request.param](tmp_path)


def side(name: str, seed: int, frames: int = 1) -> Side:
    """A side with pixels and a value, whichever of them a source compares."""
    rng = np.random.default_rng(seed)
    return Side(name, rng.integers(0, 256, (frames, 8, 8, 3), dtype=np.uint8), float(seed))


def comparison(instruction: str = "stand up", first: int = 0, second: int = 1) -> Comparison:
    return Comparison(instruction, side(f"d:{first}", first), side(f"d:{second}", second, 3))


def test_it_is_a_source(source):
    assert isinstance(source, PreferenceSource)
    assert source.name
    assert source.parser
    assert source.batch >= 1


def test_its_request_is_json_and_equal_for_equal_comparisons(source):
    request = source.request(comparison())
    assert json.loads(json.dumps(request, allow_nan=False)) == request
    assert canonical(source.request(comparison())) == canonical(request)


@pytest.mark.parametrize("changed", [{"instruction": "lie down"}, {"first": 5}, {"second": 5}])
def test_its_request_changes_with_an_image_and_with_the_instruction(source, changed):
    assert canonical(source.request(comparison(**changed))) != canonical(
        source.request(comparison())
    )


def test_its_request_tells_the_sides_apart(source):
    item = comparison()
    exchanged = Comparison(item.instruction, item.second, item.first)
    assert canonical(source.request(item)) != canonical(source.request(exchanged))


@pytest.mark.parametrize("count", [0, 1, 5])
def test_it_gives_one_answer_for_each_comparison_in_order(source, count):
    items = [comparison(first=number, second=number + 1) for number in range(count)]
    answers = source.answer(items)
    assert len(answers) == count
    for item, answer in zip(items, answers, strict=True):
        assert isinstance(answer, Answer)
        assert answer.status == ANSWERED
        assert answer.tokens_in >= 0
        assert answer.cost >= 0.0
        assert source.read(answer.raw) in PREFERENCES
        assert source.read(answer.raw) == source.read(source.answer([item])[0].raw)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
TEXTS = st.text() | JSON.map(json.dumps)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # read keeps no state
@given(raw=TEXTS)
def test_it_reads_a_preference_in_any_text_or_says_why_there_is_none(source, raw):
    refuses_or_reads(source, raw)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_it_reads_or_refuses_a_damaged_answer(source, data):
    (answer,) = source.answer([comparison()])
    start = data.draw(st.integers(0, len(answer.raw)))
    end = data.draw(st.integers(start, len(answer.raw)))
    middle = data.draw(st.text(max_size=5) | JSON.map(json.dumps))
    refuses_or_reads(source, answer.raw[:start] + middle + answer.raw[end:])


def refuses_or_reads(source, raw):
    try:
        found = source.read(raw)
    except ValueError:
        return
    assert found in PREFERENCES
