"""What every provider of replies keeps to. To hold yours to it, add a line to ``PROVIDERS``."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from embodied.files import write_json
from rewards.prompt import prompt_hash
from rewards.providers.base import Provider, Reply
from rewards.providers.openai_http import OpenAIProvider
from rewards.providers.recorded import RecordedProvider

MESSAGES = [
    {"role": "system", "content": "You write rewards."},
    {"role": "user", "content": "Task: push\nInstruction: push the cube\n\nGo on."},
]
TEXT = "Here it is: ```python\n# größer\n```"


def recorded(tmp_path, _url):
    digest = prompt_hash(MESSAGES)
    record = {
        "schema_version": 1,
        "prompt_hash": digest,
        "instruction": "push the cube",
        "task": "push",
        "messages": MESSAGES,
        "reply": TEXT,
        "written": "2026-01-01",
        "author": "a test",
        "statement": "for this test",
    }
    write_json(tmp_path / "kept" / f"{digest}.json", record)
    return RecordedProvider(tmp_path / "kept")


def openai(_tmp_path, url):
    return OpenAIProvider({"base_url": url, "model": "a-model", "timeout_s": 10.0})


PROVIDERS = {"recorded": recorded, "openai": openai}


@pytest.fixture
def url():
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            body = json.dumps({"choices": [{"message": {"content": TEXT}}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


@pytest.fixture(params=sorted(PROVIDERS))
def provider(request, tmp_path, url) -> Provider:
    return PROVIDERS[request.param](tmp_path, url)


def test_it_is_a_provider(provider):
    assert isinstance(provider, Provider)
    assert provider.name


def test_its_reply_is_complete(provider):
    reply = provider.complete(MESSAGES)
    assert isinstance(reply, Reply)
    assert reply.text == TEXT
    assert reply.model
    assert reply.raw
    assert all(isinstance(count, int) and count >= 0 for count in reply.usage.values())


def test_it_leaves_the_messages_alone_and_repeats_what_is_logged(provider, tmp_path):
    messages = [dict(message) for message in MESSAGES]
    first = provider.complete(messages, tmp_path / "run" / "replies.jsonl")
    again = provider.complete(messages, tmp_path / "run" / "replies.jsonl")
    assert messages == MESSAGES
    assert again == first
