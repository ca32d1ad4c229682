"""A chat model as a source: what it is shown and asked, and what is read in its replies."""

import json
from dataclasses import replace

import numpy as np
import pytest

from embodied.errors import UserError
from rewards.label_store import LabelStore
from rewards.preferences import labelling
from rewards.preferences.chat import ChatSource
from rewards.preferences.sheets import GAP
from rewards.preferences.source import Comparison, PreferenceSource, Side
from rewards.providers.base import BudgetError, Caps, Provider, Reply
from tests.rewards.preferences.eyes import Config, Eyes, comparison, pixels, side


@pytest.fixture(name="make")
def _make(tmp_path):
    def run(*args, **settings):
        return ChatSource(Eyes(*args), tmp_path / "replies.jsonl", **settings)

    return run


def ask(source, *args):
    (answer,) = source.answer([comparison(*args)])
    return answer


# What is shown.


def test_the_first_stage_shows_both_images_and_the_second_the_notes(make):
    source = make()
    assert isinstance(source, PreferenceSource)
    assert isinstance(source.provider, Provider)
    ask(source, [10], [200, 100], "be {bright} \U0001f642")
    (looked,), (decided,) = source.provider.asked
    parts = looked["content"]
    assert [pixels(part).shape for part in parts if part["type"] == "image"] == [
        *((4, 6, 3), (4, 12 + GAP, 3))
    ]
    kinds = [part["type"] for part in parts]
    assert kinds == ["text", "text", "image", "text", "image", "text"]
    assert "be {bright} \U0001f642" in parts[0]["text"]
    assert "film" in parts[0]["text"]
    assert "be {bright} \U0001f642" in decided["content"]
    assert "<10.000>" in decided["content"]
    ask(source, [10], [20])
    assert "film" not in source.provider.asked[2][0]["content"][0]["text"]


@pytest.mark.parametrize(
    ("frames", "told"),
    [
        (np.zeros((0, 4, 6, 3), np.uint8), r"uint8\[0, 4, 6, 3\]"),
        (np.zeros((4, 6, 3), np.uint8), r"uint8\[4, 6, 3\]"),
        (np.zeros((1, 4, 6, 4), np.uint8), r"uint8\[1, 4, 6, 4\]"),
        (np.zeros((1, 4, 6, 3), np.float32), r"float32\[1, 4, 6, 3\]"),
    ],
)
def test_what_cannot_be_shown_is_told_before_anything_is_asked(make, frames, told):
    with pytest.raises(UserError, match=f"the frames of x are {told}"):
        make().request(Comparison("go", side(1), Side("x", frames)))


@pytest.mark.parametrize("instruction", ["", "  ", "go \ud800"])
def test_an_instruction_that_cannot_be_sent_is_told(make, instruction):
    with pytest.raises(UserError, match="give a sentence"):
        make().request(comparison([1], [2], instruction))


# Orders.


@pytest.mark.parametrize("order_swap", [False, True])
@pytest.mark.parametrize(
    ("first", "second", "wanted"),
    [(200, 100, "first"), (100, 200, "second"), (100, 100, "unsure")],
)
def test_the_preferred_side_is_told_whichever_way_it_is_asked(
    make, order_swap, first, second, wanted
):
    source = make(order_swap=order_swap)
    answer = ask(source, [first], [second])
    assert source.read(answer.raw) == wanted
    assert len(source.provider.asked) == (4 if order_swap else 2)
    assert answer.tokens_in == len(source.provider.asked) * 100


@pytest.mark.parametrize(
    ("plain", "swapped", "wanted"),
    [
        *(("0", "1", "first"), ("1", "0", "second"), ("-1", "-1", "unsure")),
        *(("0", "0", "unsure"), ("1", "1", "unsure"), ("0", "-1", "unsure"), ("-1", "0", "unsure")),
    ],
)
def test_only_two_orders_that_agree_count(make, plain, swapped, wanted):
    replies = iter([plain, swapped])
    source = make(lambda text, stage: next(replies) if stage == "decide" else text, order_swap=True)
    assert source.read(ask(source, [1], [2]).raw) == wanted


def test_an_order_that_cannot_be_read_leaves_no_label(make):
    replies = iter(["0", "I will not say."])
    source = make(lambda text, stage: next(replies) if stage == "decide" else text, order_swap=True)
    raw = ask(source, [1], [2]).raw
    with pytest.raises(ValueError, match="I will not say"):
        source.read(raw)


def test_the_sides_are_exchanged_in_the_second_order(make):
    source = make(order_swap=True)
    ask(source, [10], [20])
    shown = [
        [int(pixels(part).max()) for part in question[0]["content"] if part["type"] == "image"]
        for question in source.provider.asked[:2]
    ]
    assert shown == [[10, 20], [20, 10]]


# Answers.


def test_a_raw_answer_holds_every_reply_and_what_it_took(make):
    source = make(*(lambda text, stage: text, None, Caps(input_price=2.0, output_price=5.0)))
    answer = ask(source, [10], [20])
    (order,) = json.loads(answer.raw)["orders"]
    assert order["swapped"] is False
    assert order["look"]["text"] == "<10.000> <20.000>"
    assert order["decide"] == {"text": "1", "stop": "", "model": "eyes-2", "raw": "<1>"}
    assert (answer.status, answer.model) == (200, "eyes-2")
    assert (answer.tokens_in, answer.tokens_out) == (200, 20)
    assert answer.cost == pytest.approx((200 * 2.0 + 20 * 5.0) / 1e6)
    assert ask(make(), [10], [20]).cost == 0.0


def test_answers_come_in_the_order_of_their_comparisons_with_failures_in_their_places(make):
    def change(text, stage):
        if stage == "look" and "<50" in text:
            return UserError("the server at x answered HTTP 503 (busy); try again")
        return UserError("h hung up \ud800") if stage == "look" and "<60" in text else text

    source = make(change)
    asked = [comparison([level], [55]) for level in (10, 50, 70, 60, 80)]
    good, busy, high, hung, last = source.answer(asked)
    assert [source.read(answer.raw) for answer in (good, high, last)] == ["second", *["first"] * 2]
    assert (busy.status, hung.status, hung.raw) == (503, 0, "h hung up ?")
    assert "answered HTTP 503" in busy.raw
    assert (busy.tokens_in, busy.model) == (0, "eyes")
    assert list(source.answer([])) == []


@pytest.mark.parametrize("stage", ["look", "decide"])
@pytest.mark.parametrize(
    "error",
    [
        BudgetError("the cap of 3 calls is reached; raise provider.max_calls"),
        UserError("the server at http://h/v1 answered HTTP 401 (no); name the variable"),
        UserError("the server at http://h/v1 answered HTTP 404 (no such model); check"),
    ],
)
def test_what_no_further_question_passes_ends_the_run(make, error, stage):
    source = make(lambda text, now: error if now == stage else text)
    with pytest.raises(UserError) as told:
        ask(source, [1], [2])
    assert told.value is error


def test_it_gives_up_after_failures_in_a_row(make):
    down = UserError("h refuses connections; start it")
    replies = iter([down, down, "<1> <2>", "1"])
    source = make(lambda text, _: next(replies, down), failures=3)
    for status in (0, 0, 200, 0, 0, 0):
        assert ask(source, [1], [2]).status == status
    with pytest.raises(UserError, match=r"3 comparisons in a row got no answer; .*refuses"):
        ask(source, [1], [2])


def test_a_missing_key_is_told_at_once(make, monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    source = make(lambda text, _: text, replace(Config(), key_env="NO_SUCH_KEY"))
    with pytest.raises(UserError, match="NO_SUCH_KEY is not set"):
        ask(source, [1], [2])
    assert source.provider.asked == []


@pytest.mark.parametrize(
    "raw",
    [
        *("", "null", "1", "[]", "{}", '{"orders": []}', '{"orders": {}}', '{"orders": [1]}'),
        *('{"orders": [{"swapped": 0, "decide": {"text": "1", "stop": ""}}]}', "[" * 100_000),
        *('{"orders": [{"swapped": true, "decide": {"text": 1, "stop": ""}}]}', '{"orders": "0"}'),
        '{"choice": "first", "shown_left": "first", "seconds": 1.0}',
    ],
)
def test_another_answer_is_refused(make, raw):
    with pytest.raises(ValueError, match="not an answer of a chat model"):
        make().read(raw)


# The question's name, and the store.


def test_a_request_holds_what_the_answer_depends_on_and_nothing_else(make):
    source = make()
    request = source.request(comparison([1], [2]))
    assert request["provider"] == {
        **{"name": "eyes", "base_url": "http://127.0.0.1:1/v1", "model": "eyes"},
        **{"temperature": None, "max_tokens": 50},
    }
    assert request["first"] == side(1).sha256
    config = Config()
    for same in ({"key_env": "KEY"}, {"concurrency": 1}, {"max_calls": 5}):
        other = make(lambda text, _: text, replace(config, **same))
        assert other.request(comparison([1], [2])) == request
    for different in ({"model": "m"}, {"temperature": 1.0}, {"base_url": "x"}, {"max_tokens": 9}):
        other = make(lambda text, _: text, replace(config, **different))
        assert other.request(comparison([1], [2])) != request
    assert make(order_swap=True).request(comparison([1], [2])) != request


def test_the_size_of_a_sheet_counts_where_it_changes_what_is_shown(make):
    few, many = make(contact_sheet=4), make(contact_sheet=16)
    for item in (comparison([1], [2]), comparison([1, 2, 3], [2])):
        assert few.request(item) == many.request(item)
    long = comparison([1], range(10))
    assert few.request(long) != many.request(long)


@pytest.mark.parametrize("settings", [{"contact_sheet": 0}, {"batch": 0}, {"failures": 0}])
def test_numbers_below_one_are_refused(make, settings):
    with pytest.raises(UserError, match="at least 1"):
        make(**settings)


def test_an_answered_question_is_never_asked_again(make, tmp_path):
    store = LabelStore(tmp_path / "labels.db")
    items = [comparison([level], [55]) for level in (10, 50, 60, 70)]
    wanted = ["second", "second", "first", "first"]
    first = make()
    assert labelling.label(items, first, store, workers=2) == wanted
    assert len(first.provider.asked) == 8
    again = make()
    assert labelling.label(items, again, store, workers=2) == wanted
    again.parser = "chat 2"  # another parser reads what is stored
    again.read = lambda raw: "tie"
    assert labelling.label(items, again, store) == ["tie"] * 4
    assert again.provider.asked == []
    (spent,) = store.spent().values()
    assert (spent.calls, spent.tokens_in, spent.tokens_out) == (4, 800, 80)
    store.close()


def test_replies_that_no_file_can_hold_are_kept_all_the_same(tmp_path, make):
    store = LabelStore(tmp_path / "labels.db")
    huge = {"prompt_tokens": 10**30, "completion_tokens": 1}

    class Hostile(Eyes):
        def _one(self, messages):
            return Reply("\ud800\x00", "m\ud800", huge, "\udfff")

    source = ChatSource(Hostile(), tmp_path / "log.jsonl")
    assert labelling.label([comparison([1], [2])], source, store) == [None]
    (label,) = store.labels(source.parser)
    assert "no line is 0, 1 or -1" in label.reason
    assert list(store.spent()) == ["m?"]
    store.close()
