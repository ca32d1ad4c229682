"""What every wire format does with good, bad, slow, broken and hostile servers."""

import socket

import pytest

from embodied.errors import UserError
from rewards.providers.base import read_lines

KEY = "sk-very-secret-value"


def test_a_good_answer_is_returned_stored_and_counted(ask, server, tmp_path, wire, answer):
    log = tmp_path / "reward" / "replies.jsonl"
    reply = ask(answer(), log=log, temperature=0.5, input_price=1.0, output_price=2.0)
    assert (reply.text, reply.model, reply.stop) == ("hello", "served-model", wire.stop)
    assert reply.usage == {"prompt_tokens": 100, "completion_tokens": 50}
    path, headers, body = server.requests[0]
    assert path == wire.path
    assert not {"Authorization", "x-api-key"} & set(headers)
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("asked-model", 4096, 0.5)
    (record,) = read_lines(log)
    assert record["raw"].encode() == wire.body()
    assert (ask.provider.budget.tokens, ask.provider.budget.cost) == (150, pytest.approx(200e-6))


def test_what_was_paid_for_is_not_asked_again(ask, server, tmp_path, answer, wire):
    log = tmp_path / "replies.jsonl"
    first = ask(answer(), log=log)
    again = ask(log=log)
    assert again == first
    assert len(server.requests) == 1
    assert ask(answer(body=wire.body("other")), log=log, model="another").text == "other"


def test_a_log_line_that_a_kill_cut_off_does_no_harm(ask, server, tmp_path, answer):
    log = tmp_path / "replies.jsonl"
    log.write_bytes(b'{"request": "abc", "raw": "{')
    ask(answer(), log=log)
    assert ask(log=log).text == "hello"
    assert len(server.requests) == 1


def test_retry_after_is_honoured(ask, answer):
    reply = ask(answer(429, b"slow down", Retry_After="7"), answer())
    assert reply.text == "hello"
    assert ask.waits == [7.0]
    assert ask.provider.budget.calls == 2


def test_retry_after_is_bounded(ask, answer):
    ask(answer(429, b"", Retry_After="99999"), answer(), max_wait_s=20.0)
    assert ask.waits == [20.0]


def test_server_errors_are_retried_with_growing_waits(ask, answer):
    ask(answer(500, b""), answer(529, b""), answer(408, b""), answer(409, b""), answer())
    assert len(ask.waits) == 4
    for step, wait in enumerate(ask.waits):
        assert 0.5 * 2**step <= wait <= 2**step


def test_retries_end(ask, answer):
    with pytest.raises(UserError, match="HTTP 503"):
        ask(*[answer(503, b"") for _ in range(3)], max_retries=2)
    assert len(ask.waits) == 2


@pytest.mark.parametrize(
    ("status", "part"),
    [(400, "HTTP 400"), (401, "key_env"), (404, "base_url"), (307, "redirects are not followed")],
)
def test_other_errors_are_told_at_once(ask, server, status, part, answer):
    with pytest.raises(UserError, match=part):
        ask(answer(status, b"no", Location="http://127.0.0.1:1/"))
    assert ask.waits == []
    assert len(server.requests) == 1


BAD_BODIES = [
    b"<html>Welcome</html>",
    b"\xff\xfe",
    b"[" * 100_000,
]
NO_TEXTS = [
    b"[]",
    b"{}",
    b'{"choices": [], "content": []}',
    b'{"choices": [{"message": {"content": null}}], "content": null}',
    b'{"choices": [{"message": {"content": 3}}], "content": [{"type": "text", "text": 3}]}',
    b'{"choices": {"0": 1}, "content": {"type": "text", "text": "x"}}',
    b'{"choices": [[]], "content": [null, 3, [], {"type": "tool_use", "text": "x"}]}',
]


@pytest.mark.parametrize("body", [*BAD_BODIES, None, *NO_TEXTS])
def test_an_unreadable_answer_is_stored_and_told(ask, answer, wire, tmp_path, body):
    log = tmp_path / "replies.jsonl"
    sent = wire.body()[:-20] if body is None else body
    with pytest.raises(UserError, match=wire.no_text if body in NO_TEXTS else "not JSON") as caught:
        ask(answer(body=sent), log=log)
    assert "\n" not in str(caught.value)
    assert len(read_lines(log)) == 1
    # An answer that cannot be read does not stand in the way of the next one.
    assert ask(answer(), log=log).text == "hello"


def drip(server, head):
    def write(handler):
        handler.wfile.write(head)
        while not server.stop.wait(0.02):
            handler.wfile.write(b" ")
            handler.wfile.flush()

    return write


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-Slow: "]
)
def test_a_dripping_answer_ends_at_the_deadline(ask, server, head):
    # Every byte comes well within the socket's own timeout.
    with pytest.raises(UserError, match=r"did not answer within 0\.3 s"):
        ask(drip(server, head), timeout_s=0.3)


def test_a_silent_server_ends_at_the_deadline(ask, server):
    with pytest.raises(UserError, match="did not answer"):
        ask(lambda handler: server.stop.wait(10), timeout_s=0.2)


def test_a_huge_answer_is_refused(ask, answer, wire):
    with pytest.raises(UserError, match="longer than 1000 bytes"):
        ask(answer(body=wire.body("x" * 2000)), max_response_bytes=1000)


def test_a_closed_socket_is_told(ask):
    with pytest.raises(UserError, match="hung up"):
        ask(lambda handler: handler.connection.shutdown(socket.SHUT_RDWR))


def test_a_body_that_ends_early_is_told(ask, wire):
    def write(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "5000")
        handler.end_headers()
        handler.wfile.write(wire.body())

    with pytest.raises(UserError, match="hung up"):
        ask(write)


def test_a_refused_connection_is_told(make, messages):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UserError, match="refuses connections; start the server"):
        make(base_url=f"http://127.0.0.1:{port}/v1").complete(messages)


def test_the_key_is_sent_and_appears_nowhere_else(ask, server, tmp_path, monkeypatch, answer, wire):
    monkeypatch.setenv("TEST_KEY", KEY)
    log = tmp_path / "replies.jsonl"
    echo = wire.body(f"your key is {KEY}")
    reply = ask(answer(body=echo), log=log, key_env="TEST_KEY")
    header, value = wire.key_header
    assert server.requests[0][1][header] == value.format(KEY)
    with pytest.raises(UserError) as caught:
        ask(answer(401, f"wrong key {KEY}".encode()), log=log, key_env="TEST_KEY", model="b")
    for text in (reply.text, reply.raw, str(caught.value), log.read_text(), repr(ask.provider)):
        assert KEY not in text
    assert "***" in str(caught.value)


@pytest.mark.parametrize("value", ["", "  ", "two words", "line\nbreak", "schlüssel"])
def test_an_unusable_key_is_told_without_showing_it(ask, server, monkeypatch, value, answer):
    monkeypatch.setenv("TEST_KEY", value)
    with pytest.raises(UserError, match="TEST_KEY") as caught:
        ask(answer(), key_env="TEST_KEY")
    assert not value.strip() or value not in str(caught.value)
    assert server.requests == []


def test_the_call_cap_counts_retries(ask, answer):
    with pytest.raises(UserError, match="cap of 2 calls"):
        ask(*[answer(500, b"") for _ in range(2)], max_calls=2)
    assert "cost unknown" in ask.provider.budget.summary()


def test_the_spend_cap_holds_before_the_call(ask, server, answer):
    prices = {"input_price": 1.0, "output_price": 10.0, "max_tokens": 1000}
    with pytest.raises(UserError, match="max_cost"):
        ask(answer(), max_cost=0.001, **prices)
    assert server.requests == []
    assert ask(answer(), max_cost=0.1, **prices).text == "hello"


def test_what_the_server_refused_to_do_is_not_charged(ask, answer):
    ask(answer(429, b""), answer(500, b""), answer(), input_price=1.0, output_price=2.0)
    assert ask.provider.budget.calls == 3
    assert ask.provider.budget.cost == pytest.approx(200e-6)


def test_a_call_of_unknown_outcome_stays_charged(ask):
    with pytest.raises(UserError, match="hung up"):
        ask(
            lambda handler: handler.connection.shutdown(socket.SHUT_RDWR),
            input_price=0.0,
            output_price=10.0,
            max_tokens=1000,
        )
    assert ask.provider.budget.cost == pytest.approx(0.01)
