"""The label store: three things apart, nothing asked twice, leases, versions, the ledger."""

import json
import sqlite3
import threading

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embodied.errors import UserError
from rewards.label_records import Answer, Label, Spent, canonical
from rewards.label_store import LabelStore

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


class Clock:
    """A clock that a test sets."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture(name="clock")
def _clock():
    return Clock()


@pytest.fixture(name="store")
def _store(tmp_path, clock):
    made = LabelStore(tmp_path / "labels.db", clock)
    yield made
    made.close()


def ask(number, image=b"\x89PNG"):
    return {"prompt": f"which is better, {number}?", "images": [image, b"other"]}


@given(JSON)
def test_a_request_is_one_text_whatever_the_order_of_its_keys(request):
    turned = json.loads(json.dumps(request), object_pairs_hook=lambda p: dict(reversed(p)))
    assert canonical(turned) == canonical(request)
    assert json.loads(canonical(request)) == json.loads(json.dumps(request))


@given(st.binary(min_size=1), st.data())
def test_one_byte_of_an_image_makes_another_question(image, data):
    place = data.draw(st.integers(0, len(image) - 1))
    changed = bytearray(image)
    changed[place] ^= data.draw(st.integers(1, 255))
    assert canonical(ask(0, image)) != canonical(ask(0, bytes(changed)))
    assert canonical(ask(0, image)) == canonical(ask(0, bytes(image)))


@pytest.mark.parametrize("wrong", [{"a": float("nan")}, {"a": object()}, [float("inf")], {b"a": 1}])
def test_what_is_no_request_is_refused(wrong):
    with pytest.raises(UserError, match="a question holds"):
        canonical(wrong)


def test_a_question_is_kept_once_without_the_bytes_of_its_images(store, tmp_path):
    first = store.add([ask(0), ask(1), ask(0)])
    assert first[0] == first[2] != first[1]
    assert store.add([ask(0)]) == first[:1]
    assert len(store.unanswered()) == 2
    (question,) = [item for item in store.claim("a", 9, 60) if item.key == first[0]]
    assert question.request["prompt"] == "which is better, 0?"
    assert set(question.request["images"][0]) == {"sha256"}
    store.close()
    assert b"\x89PNG" not in (tmp_path / "labels.db").read_bytes()


def test_questions_are_shared_by_claims_that_run_out(store, clock):
    keys = sorted(store.add(ask(number) for number in range(4)))
    assert [item.key for item in store.claim("a", 3, 60)] == keys[:3]
    assert [item.key for item in store.claim("b", 3, 60)] == keys[3:]
    assert store.claim("a", 3, 60) == [], "nobody is given what is under way"
    clock.now += 59.9
    assert store.claim("c", 9, 60) == []
    store.keep(keys[0], Answer("0"))
    clock.now += 0.1
    assert [item.key for item in store.claim("c", 9, 60)] == keys[1:]
    assert store.release("a") == 0, "others hold them now"
    assert store.release("c") == 3
    assert [item.key for item in store.claim("d", 1, 60)] == keys[1:2]


def test_a_late_answer_is_kept_and_a_failed_one_leaves_the_question_open(store, clock):
    (key,) = store.add([ask(0)])
    store.claim("a", 1, 1)
    store.keep(key, Answer("overloaded", status=529, model="m"))
    clock.now += 5
    assert [item.key for item in store.claim("b", 1, 1)] == [key]
    store.keep(key, Answer("image 1", model="m", tokens_in=7, tokens_out=2, cost=0.5))
    clock.now += 5
    assert store.claim("c", 1, 1) == []
    store.keep(key, Answer("image 2", model="n", tokens_in=7, tokens_out=3, cost=0.25))
    assert [(item.raw, item.status) for item in store.answers(key)] == [
        ("overloaded", 529),
        ("image 1", 200),
        ("image 2", 200),
    ]
    assert store.spent() == {"m": Spent(2, 7, 2, 0.5), "n": Spent(1, 7, 3, 0.25)}
    with pytest.raises(UserError, match="holds no question 0000"):
        store.keep("0" * 64, Answer("1"))


def number(raw):
    if raw not in "012":
        raise ValueError(f"{raw!r} is no choice")
    return raw


def test_answers_are_read_again_by_another_parser_and_never_asked_again(store, clock):
    keys = store.add([ask(0), ask(1), ask(2)])
    for key, raw in zip(keys, ("1", "perhaps", "2"), strict=True):
        store.keep(key, Answer(raw, model="m"))
    assert store.parse("number 1", number) == 3
    assert store.parse("number 1", number) == 0
    assert store.labels("number 1") == [
        Label(keys[0], "1", "", "number 1", "m", clock.now),
        Label(keys[1], None, "'perhaps' is no choice", "number 1", "m", clock.now),
        Label(keys[2], "2", "", "number 1", "m", clock.now),
    ]
    assert store.parse("number 2", lambda raw: raw.upper()) == 3
    assert [item.value for item in store.labels("number 2", keys[1:])] == ["PERHAPS", "2"]
    assert [item.value for item in store.labels("number 1")] == ["1", None, "2"]
    assert store.claim("a", 9, 1) == []


def test_labels_go_to_parquet(store, tmp_path):
    keys = store.add([ask(0), ask(1)])
    store.keep(keys[0], Answer("1", model="m"))
    store.keep(keys[1], Answer("?", model="m"))
    store.parse("number 1", number)
    assert store.export(tmp_path / "labels.parquet", "number 1") == 2
    table = pq.read_table(tmp_path / "labels.parquet")
    assert table.column_names == ["key", "value", "reason", "parser", "model", "time"]
    assert table["value"].to_pylist() == ["1", None]
    assert store.export(tmp_path / "none.parquet", "another") == 0
    assert pq.read_table(tmp_path / "none.parquet").schema == table.schema


def test_it_is_found_again_as_it_was_left(store, tmp_path, clock):
    keys = store.add([ask(0), ask(1)])
    store.keep(keys[0], Answer("1"))
    store.parse("number 1", number)
    again = LabelStore(tmp_path / "labels.db", clock)
    assert len(again.unanswered()) == 1
    assert again.labels("number 1") == store.labels("number 1")
    again.close()


def test_what_is_on_the_disk_was_synchronised(store):
    (mode,) = store._base.execute("PRAGMA journal_mode").fetchone()
    (synchronous,) = store._base.execute("PRAGMA synchronous").fetchone()
    assert (mode, synchronous) == ("wal", 2), "2 is FULL"


def test_threads_share_a_store(store):
    store.add(ask(number) for number in range(40))
    seen, failed = [], []

    def work(name):
        try:
            while claimed := store.claim(name, 3, 60):
                for item in claimed:
                    store.keep(item.key, Answer("1"))
                    seen.append(item.key)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(str(index),)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert len(seen) == len(set(seen)) == 40


def test_a_transaction_that_fails_leaves_nothing_and_the_store_usable(store):
    with pytest.raises(UserError, match="a question holds"):
        store.add([ask(0), {"wrong": object()}])
    assert store.unanswered() == []
    store.add([ask(0)])
    assert len(store.unanswered()) == 1


def other_version(path):
    with sqlite3.connect(path) as base:
        base.execute("CREATE TABLE question (key TEXT)")
        base.execute("PRAGMA user_version=99")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda path: path.write_bytes(b"not a database, but long enough to be one" * 50),
            "is not",
        ),
        (other_version, "its version is not 1"),
        (lambda path: path.mkdir(), "cannot be opened"),
    ],
    ids=["text", "version", "folder"],
)
def test_another_file_is_refused_in_one_line_and_left_alone(make, message, tmp_path):
    path = tmp_path / "file"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(UserError, match=message) as caught:
        LabelStore(path)
    assert "\n" not in str(caught.value)
    assert before is None or path.read_bytes() == before
