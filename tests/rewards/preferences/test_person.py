"""A person's answers: what is asked again, what is kept, taken back, gone on with and read."""

import json
import threading

import pytest

from embodied.errors import UserError
from rewards.label_records import Answer
from rewards.label_store import LabelStore
from rewards.preferences import labelling
from rewards.preferences.person import PersonSource, read_answer
from rewards.preferences.sitting import plan
from rewards.preferences.source import PreferenceSource
from tests.rewards.preferences.paging import PAIRS, WAIT_S, comparison, labels, pages


@pytest.fixture(name="store_path")
def _store_path(tmp_path):
    return tmp_path / "runs" / "labels.sqlite"


@pytest.fixture(name="start")
def _start(store_path):
    with pages(store_path) as start:
        yield start


@pytest.fixture(name="page")
def _page(start):
    return start()


# ---- the plan ------------------------------------------------------------------------------------


def test_a_plan_shows_every_pair_once_and_checks_with_sides_swapped():
    items = plan(50, 10, seed=3)
    checks = [at for at, item in enumerate(items) if item.repeats is not None]
    assert checks == [9, 19, 29, 39, 49]
    assert [item.pair for item in items if item.repeats is None] == list(range(45))
    for at in checks:
        before = items[items[at].repeats]
        assert before.pair == items[at].pair
        assert before.repeats is None
        assert {before.left, items[at].left} == {"first", "second"}
        assert items[at].repeats < at - 1, "never the pair that was just seen"
    lefts = [item.left for item in items]
    assert 10 < lefts.count("first") < 40
    assert plan(80, 10, seed=3)[:50] == items
    assert plan(50, 10, seed=4) != items
    assert all(item.repeats is None for item in plan(50, 0, seed=3))
    assert [item.repeats for item in plan(4, 2, 0)] == [None, 0, None, 0]


@pytest.mark.parametrize(("positions", "every"), [(0, 10), (5, 1), (5, -1)])
def test_a_plan_that_asks_nothing_is_refused(positions, every):
    with pytest.raises(UserError):
        plan(positions, every, 0)


# ---- the source ----------------------------------------------------------------------------------


def raw(**changes):
    value = {"choice": "tie", "shown_left": "first", "seconds": 1.0, "attention": False} | changes
    return json.dumps(value)


def test_a_person_is_a_source_that_is_read_and_not_asked():
    source = PersonSource()
    assert isinstance(source, PreferenceSource)
    wanted = {"first": "first", "second": "second", "tie": "tie", "skip": "unsure"}
    for choice, preference in wanted.items():
        assert source.read(raw(choice=choice)) == preference
        assert source.read(raw(choice=choice, shown_left="second")) == preference
    with pytest.raises(UserError, match="embodied prefer DATA"):
        source.answer([comparison("a", "b")])
    request = source.request(comparison("a", "b"))
    assert request != source.request(comparison("b", "a"))
    assert request != source.attention_request(comparison("a", "b"), 3)
    assert json.loads(json.dumps(request)) == request


@pytest.mark.parametrize(
    "text",
    [
        *("", "first", "[]", "null", "[" * 100_000, raw(choice="third"), raw(shown_left="tie")),
        *(raw(more=1), raw(choice=["first"]), raw(attention=1), raw(attention=True)),
        *(raw(choice="undone"), raw(seconds="1"), '{"choice": "first"}'),
    ],
)
def test_what_is_no_label_is_not_read_as_one(text):
    with pytest.raises(ValueError, match=r"."):
        PersonSource().read(text)


# ---- answers -------------------------------------------------------------------------------------


def test_a_key_means_the_side_that_was_shown_there(page, store_path):
    shown = plan(12, 4, 0)
    pressed = ["left", "right", "tie", "skip", "right", "left", "left", "right", "tie"]
    for at, item in enumerate(shown):
        page.answer(pressed[item.pair] if item.repeats is None else "tie")
        stored = labels(store_path)[item.pair]
        if item.repeats is None:  # in the store as soon as the page is told
            sides = {"left": item.left, "tie": "tie", "skip": "unsure"}
            sides["right"] = {"first": "second", "second": "first"}[item.left]
            assert stored == sides[pressed[item.pair]], at
    state = page.state()
    assert state["state"] == "done"
    agree = [shown[item.repeats].pair for item in shown if item.repeats is not None]
    checks = [pressed[pair] for pair in agree if pressed[pair] != "skip"]
    told = page.end()
    assert told == state["summary"]
    assert told["checks"] == len(checks)
    assert told["agree"] == checks.count("tie")
    assert (told["tie"], told["skip"], told["first"] + told["second"]) == (2, 1, 6)


def test_attention_checks_agree_with_the_side_and_are_no_labels(page, store_path):
    shown = plan(12, 4, 0)
    for item in shown:  # always the first clip of a pair, wherever it is
        page.answer("left" if item.left == "first" else "right", seconds=2.25)
    assert labels(store_path) == ["first"] * 9 + [None] * 3, (
        "the last three pairs made room for checks"
    )
    told = page.end()
    assert (told["checks"], told["agree"], told["first"]) == (3, 3, 9)
    store = LabelStore(store_path)
    values = [item.value for item in store.labels(PersonSource.parser)]
    assert sorted(values, key=str) == [None] * 3 + ["first"] * 9
    answers = [read_answer(store.answers(item.key)[0].raw) for item in store.labels("person 1")]
    assert sum(item.attention for item in answers) == 3
    assert {item.seconds for item in answers} == {2.25}
    assert {item.shown_left for item in answers} == {"first", "second"}


def test_what_was_answered_is_had_by_labelling_without_asking(page, store_path):
    for _ in range(12):
        page.answer("tie")
    page.end()
    store = LabelStore(store_path)
    some = [comparison(*pair) for pair in PAIRS[:9]]
    assert labelling.label(some, PersonSource(), store) == ["tie"] * 9
    with pytest.raises(UserError, match="wait for a person's answer"):
        labelling.label([comparison(*PAIRS[10])], PersonSource(), store)


def test_undo_takes_back_as_far_as_the_start(page, store_path):
    shown = plan(12, 4, 0)
    assert page.post("undo", {"position": 0})[0] == 409
    for _ in range(3):
        page.answer("tie")
    for left in (2, 1):
        status, state = page.post("undo", {"position": left + 1})
        assert (status, state["position"]) == (200, left)
    assert labels(store_path)[:4] == ["tie", None, None, None]
    page.answer("left")
    assert labels(store_path)[:4] == ["tie", shown[1].left, None, None]
    assert page.post("undo", {"position": 1})[0] == 409, "not what is answered next"
    assert page.state()["position"] == 2


def test_the_last_answer_can_be_taken_back_before_the_end(page):
    for _ in range(12):
        page.answer("tie")
    assert page.post("undo", {"position": 12})[1]["position"] == 11
    assert page.post("finish", {})[0] == 409, "one is open again"
    page.answer("skip")
    told = page.end()
    assert told["checks"] == 2, "the check that was skipped does not count"


def test_the_command_ends_by_itself_when_nothing_is_taken_back(start):
    page = start(linger_s=0.0)
    for _ in range(12):
        page.answer()
    page.thread.join(WAIT_S)
    assert page.result["first"] + page.result["second"] == 9


# ---- going on ------------------------------------------------------------------------------------


def test_a_restart_goes_on_at_the_first_open_pair(page, start):
    for _ in range(5):
        page.answer("left")
    page.post("undo", {"position": 5})  # and then the page is closed
    again = start()
    assert again.url != page.url
    assert again.state()["position"] == 4
    for _ in range(8):
        again.answer("left")
    told = again.end()
    assert told["first"] + told["second"] == 9
    finished = start()
    finished.thread.join(WAIT_S)
    assert finished.result == told, "nothing is left to ask, so it ends at once"


def test_another_seed_or_more_pairs_keep_what_was_answered(page, start):
    for _ in range(3):
        page.answer("tie")
    assert start(pairs=PAIRS[:8]).state()["position"] == 3
    swapped = start(seed=1, attention_every=0)
    assert swapped.state()["position"] == 3, "questions do not know their sides"


def test_an_answer_is_kept_once_however_often_it_is_sent(page, store_path, start):
    body = {"position": page.state()["position"], "pressed": "tie", "seconds": 1}
    replies = []

    def send():
        replies.append(page.post("answer", body)[0])

    threads = [threading.Thread(target=send) for _ in range(8)]
    for item in threads:
        item.start()
    for item in threads:
        item.join()
    assert sorted(replies) == [200] + [409] * 7
    assert page.state()["position"] == 1
    store = LabelStore(store_path)
    assert sum(entry.calls for entry in store.spent().values()) == 1


def test_an_answer_of_another_program_is_asked_again(store_path, start):
    store_path.parent.mkdir()
    store = LabelStore(store_path)
    (key,) = store.add([PersonSource().request(comparison(*PAIRS[0]))])
    store.keep(key, Answer("the first one, I think"))
    store.close()
    assert start().state()["position"] == 0
