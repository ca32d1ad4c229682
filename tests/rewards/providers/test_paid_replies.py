"""What a server was paid for is kept once for all runs, and never with the key in it."""

import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embodied.errors import UserError
from rewards.providers.openai_http import WIRE, OpenAIProvider
from rewards.providers.transport import strike
from rewards.text2reward import generate

KEY = "abc/def"
SPELLINGS = ["abc/def", r"abc\/def", r"abc\u002Fdef", r"\u0061bc\u002fdef"]


def body(text: str, model: str = '"a-model"') -> bytes:
    """Return a chat completion whose strings are spelled by the caller."""
    return f'{{"model": {model}, "choices": [{{"message": {{"content": {text}}}}}]}}'.encode()


@pytest.fixture
def server():
    """A loopback server that answers with ``server.body`` and counts in ``server.requests``."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            made.requests += 1
            self.send_response(made.status)
            self.send_header("Content-Length", str(len(made.body)))
            self.end_headers()
            self.wfile.write(made.body)

        def log_message(self, *arguments):
            pass

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.body, made.status, made.requests = b"", 200, 0
    threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def make(server, task, tmp_path):
    """Make a reward into a folder of the test, each time with a provider of its own."""

    def run(name: str, attempts: int = 1, **settings):
        url = f"http://127.0.0.1:{server.server_port}/v1"
        provider = OpenAIProvider({"base_url": url, "model": "m", "max_retries": 0, **settings})
        folder = tmp_path / name
        return generate("push", task, provider, None, max_attempts=attempts, folder=folder)

    return run


def test_another_run_does_not_pay_for_the_same_question(make, server, good):
    server.body = body(json.dumps(f"```python\n{good}```"))
    first, again = make("first"), make("second")
    assert server.requests == 1
    # The second was made later, if only by a moment.
    assert {**again.provenance(), "date": ""} == {**first.provenance(), "date": ""}
    make("third", model="another")
    assert server.requests == 2


def test_an_answer_that_was_refused_is_not_paid_for_again(make, server):
    server.body = body('"I cannot."')
    for name in ("first", "second"):
        with pytest.raises(UserError, match="no complete fenced python block"):
            make(name)
    assert server.requests == 1


def test_an_answer_survives_a_kill_before_it_is_parsed(make, server, good, monkeypatch):
    def kill(*arguments):
        raise KeyboardInterrupt

    server.body = body(json.dumps(f"```python\n{good}```"))
    with monkeypatch.context() as patch:
        patch.setattr("rewards.providers.openai_http.WIRE", replace(WIRE, parse=kill))
        with pytest.raises(KeyboardInterrupt):
            make("first")
    make("second")
    assert server.requests == 1


def strings(value) -> list[str]:
    if isinstance(value, dict):
        return [*value, *(text for item in value.values() for text in strings(item))]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []


def decoded(line: str) -> list[str]:
    """Return the strings of a line of a log, those of a body that it holds included."""
    record = json.loads(line)
    raw = [json.loads(record["raw"])] if "raw" in record else []
    return [text for item in (record, *raw) for text in strings(item)]


@pytest.mark.parametrize("spelled", SPELLINGS)
def test_a_key_that_a_server_repeats_is_in_no_file(make, server, tmp_path, monkeypatch, spelled):
    monkeypatch.setenv("TEST_KEY", KEY)
    server.body = body(f'"your key {spelled}"', f'"{spelled}"')
    with pytest.raises(UserError, match="no complete fenced"):
        make("run", key_env="TEST_KEY")
    files = [tmp_path / "run" / "transcript.jsonl", tmp_path / "runs" / "replies.jsonl"]
    for file in files:
        texts = [text for line in file.read_text().splitlines() for text in decoded(line)]
        assert any("your key ***" in text for text in texts)
        assert not [text for text in texts if KEY in text or spelled in text]


@pytest.mark.parametrize("spelled", SPELLINGS)
def test_a_key_in_an_error_of_the_server_is_not_told(make, server, monkeypatch, spelled):
    monkeypatch.setenv("TEST_KEY", KEY)
    server.status, server.body = 401, f"C:\\{spelled} is wrong".encode()
    with pytest.raises(UserError, match="HTTP 401") as caught:
        make("run", key_env="TEST_KEY")
    assert "bc/def" not in str(caught.value)


PRINTABLE = st.characters(min_codepoint=33, max_codepoint=126)


@given(st.text(PRINTABLE, min_size=8), st.text(), st.text(), st.data())
def test_no_spelling_of_a_key_survives_and_the_rest_stays(key, before, after, data):
    def spell(character: str) -> str:
        forms = [json.dumps(character)[1:-1], f"\\u{ord(character):04x}"]
        return data.draw(st.sampled_from([*forms, "\\/"] if character == "/" else forms))

    ends = json.dumps(before)[:-1], json.dumps(after)[1:]
    found = json.loads(strike(ends[0] + "".join(map(spell, key)) + ends[1], key))
    assert key not in found
    if key not in before + key[:-1] and key not in key[1:] + after:
        assert found == f"{before}***{after}"
