"""Several questions at a time: order, bounds, one budget, nothing asked twice, nothing lost."""

import json
import threading
from concurrent.futures import Future

import pytest

from embodied.errors import UserError
from rewards.providers.base import BudgetError, Reply, append_line, read_lines
from rewards.providers.stored import ReplyLog
from rewards.providers.workers import ask_all


def question(text):
    return [{"role": "user", "content": text}]


def asked(body) -> str:
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else content[0]["text"]


@pytest.fixture
def echo(server, answer, wire):
    """The server answers each question with its own text, and with 400 where that is "bad"."""

    def choose(body):
        text = asked(body)
        return answer(400, b"bad") if text == "bad" else answer(body=wire.body(f"re {text}"))

    server.choose = choose
    return server


def test_answers_come_in_the_order_of_their_questions(echo, make, tmp_path):
    provider = make(max_calls=100, concurrency=8)
    found = provider.complete_many([question(f"{n}") for n in range(40)], tmp_path / "log.jsonl")
    assert [reply.text for reply in found] == [f"re {n}" for n in range(40)]
    assert provider.budget.calls == len(read_lines(tmp_path / "log.jsonl")) == 40
    assert provider.complete_many([]) == []


def test_at_most_so_many_are_under_way(echo, make, server, answer, wire):
    """The server answers none of the first three until all three have come."""
    together = threading.Barrier(3)
    under_way, most, lock = [0], [0], threading.Lock()

    def choose(body):
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        together.wait(10)
        with lock:
            under_way[0] -= 1
        return answer(body=wire.body())

    server.choose = choose
    found = make(concurrency=3).complete_many([question(f"{n}") for n in range(9)])
    assert all(isinstance(reply, Reply) for reply in found)
    assert most[0] == 3


def test_one_failure_takes_no_other_answer_with_it(echo, make, tmp_path):
    log = tmp_path / "log.jsonl"
    texts = ["a", "bad", "b", "c"]
    found = make().complete_many([question(text) for text in texts], log)
    assert [getattr(reply, "text", None) for reply in found] == ["re a", None, "re b", "re c"]
    assert isinstance(found[1], UserError)
    assert "HTTP 400" in str(found[1])
    again = make().complete_many([question(text) for text in texts], log)
    assert [again[n] for n in (0, 2, 3)] == [found[n] for n in (0, 2, 3)]
    assert [asked(body) for _, _, body in echo.requests].count("bad") == 2
    assert len(echo.requests) == 5


def test_the_call_cap_holds_for_all_together(echo, make, tmp_path):
    provider = make(max_calls=3, concurrency=4)
    found = provider.complete_many([question(f"{n}") for n in range(10)], tmp_path / "log.jsonl")
    assert sum(isinstance(reply, Reply) for reply in found) == 3
    assert sum(isinstance(reply, BudgetError) for reply in found) == 7
    assert len(echo.requests) == 3


def test_the_spend_cap_holds_for_all_together(echo, make):
    """A call could cost 0.0041 or so and costs 0.0006."""
    prices = {"input_price": 1.0, "output_price": 10.0, "max_tokens": 400}
    provider = make(max_cost=0.0100, max_calls=100, concurrency=8, **prices)
    found = provider.complete_many([question(f"{n}") for n in range(30)])
    answered = sum(isinstance(reply, Reply) for reply in found)
    assert len(echo.requests) == answered
    assert provider.budget.cost == pytest.approx(answered * 600e-6)
    assert provider.budget.cost <= 0.0100
    assert answered == 10  # what is under way at its worst case is waited for, not refused


def test_the_token_cap_is_a_setting(echo, make):
    with pytest.raises(BudgetError, match="could take"):
        make(max_total_tokens=100).complete(question("x"))
    assert echo.requests == []


def test_the_seconds_left_are_the_deadline_of_a_call(server, make):
    server.choose = lambda _: lambda handler: server.stop.wait(10)
    provider = make(max_seconds=0.3, timeout_s=60.0)
    for text in "xy":
        with pytest.raises(BudgetError, match=r"cap of 0\.3 s is reached"):
            provider.complete(question(text))
    assert len(server.requests) == 1


def test_samples_are_distinct_answers_to_one_prompt(server, make, answer, wire, tmp_path):
    log = tmp_path / "log.jsonl"
    server.script = [answer(body=wire.body(f"answer {n}")) for n in range(3)]
    provider = make(concurrency=1)
    found = provider.complete_many([question("x")] * 3, log, samples=[0, 1, 2])
    assert [reply.text for reply in found] == ["answer 0", "answer 1", "answer 2"]
    assert provider.complete(question("x"), log, 1).text == "answer 1"
    assert provider.complete(question("x"), log).text == "answer 0"
    bodies = [body for _, _, body in server.requests]
    assert bodies[0] == bodies[1] == bodies[2]
    with pytest.raises(ValueError, match="2 sample numbers for 1 questions"):
        provider.complete_many([question("x")], log, samples=[0, 1])


@pytest.fixture
def waiters(monkeypatch):
    """A semaphore that every thread releases when it begins to wait for another's answer."""
    count = threading.Semaphore(0)

    class Waited(Future):
        def result(self, timeout=None):
            count.release()
            return super().result(timeout)

    monkeypatch.setattr("rewards.providers.stored.Future", Waited)
    return count


@pytest.mark.parametrize("kept", [True, False])
def test_equal_questions_at_the_same_time_are_asked_once(
    server, make, answer, wire, tmp_path, waiters, kept
):
    def choose(body):
        for _ in range(7):
            assert waiters.acquire(timeout=20)
        return answer(body=wire.body())

    server.choose = choose
    log = tmp_path / "log.jsonl" if kept else None
    found = make(concurrency=8, timeout_s=60.0).complete_many([question("x")] * 8, log)
    assert [reply.text for reply in found] == ["hello"] * 8
    assert len(server.requests) == 1


def test_a_shared_failure_is_told_to_all(server, make, answer, waiters):
    def choose(body):
        for _ in range(3):
            assert waiters.acquire(timeout=20)
        return answer(400, b"bad")

    server.choose = choose
    found = make(concurrency=4, timeout_s=60.0).complete_many([question("x")] * 4)
    assert len(server.requests) == 1
    assert all("HTTP 400" in str(reply) for reply in found)


def test_concurrency_is_at_least_one(make):
    with pytest.raises(UserError, match=r"provider\.concurrency is 0"):
        make(concurrency=0)


def test_a_bug_in_a_worker_is_raised():
    def ask(index):
        return [][index]

    with pytest.raises(IndexError):
        ask_all(5, ask, 2)


def test_lines_of_many_threads_stay_whole(tmp_path):
    log = tmp_path / "log.jsonl"
    texts = ["x" * (20_000 + n) for n in range(8)]

    def write(text):
        for _ in range(10):
            append_line(log, {"request": text[:3], "status": 200, "raw": text})

    threads = [threading.Thread(target=write, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert sorted(line["raw"] for line in lines) == sorted(texts * 10)


def test_a_log_is_read_on_where_it_was_left(tmp_path):
    path = tmp_path / "log.jsonl"
    log = ReplyLog(path)
    assert log.answers("a") == []
    log.append({"request": "a", "status": 200, "raw": "1"})
    log.append({"request": "a", "status": 429, "raw": "2"})
    append_line(path, {"request": "a", "status": 200, "raw": "3"})  # as another process does
    assert [record["raw"] for record in log.answers("a")] == ["3", "1"]
    with path.open("ab") as stream:
        stream.write(b'{"request": "b", "status": 200, "raw": "cut')
    assert log.answers("b") == []
    log.append({"request": "b", "status": 200, "raw": "4"})
    assert [record["raw"] for record in log.answers("b")] == ["4"]
    path.unlink()
    assert log.answers("a") == []
    append_line(path, {"request": "c", "status": 200, "raw": "5"})
    assert [record["raw"] for record in log.answers("c")] == ["5"]
