"""What every provider of replies keeps to. To hold yours to it, add a line to ``PROVIDERS``."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from embodied.errors import UserError
from embodied.files import write_json
from embodied.registry import NAMES
from rewards.prompt import prompt_hash
from rewards.providers.anthropic_http import AnthropicProvider
from rewards.providers.base import Budget, Provider, Reply
from rewards.providers.openai_http import OpenAIProvider
from rewards.providers.recorded import RecordedProvider
from rewards.providers.transformers_chat import TransformersProvider

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


def anthropic(_tmp_path, url):
    return AnthropicProvider({"base_url": url, "model": "a-model", "timeout_s": 10.0})


def transformers(tmp_path, _url):
    """A model whose weights are zero: it writes its first token, which is the whole text."""
    pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    model = LlamaForCausalLM(LlamaConfig(**sizes, vocab_size=2, num_attention_heads=1))
    for weight in model.parameters():
        weight.detach().zero_()
    model.save_pretrained(tmp_path / "zeros")
    words = Tokenizer(models.WordLevel({TEXT: 0, "?": 1}, unk_token="?"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="?")
    tokenizer.chat_template = "{{ messages[-1].content }}"
    tokenizer.save_pretrained(tmp_path / "zeros")
    return TransformersProvider({"path": str(tmp_path / "zeros"), "max_tokens": 1})


PROVIDERS = {
    "recorded": recorded,
    "openai": openai,
    "anthropic": anthropic,
    "transformers": transformers,
}


@pytest.fixture
def url():
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            answers = {
                "/v1/chat/completions": {"choices": [{"message": {"content": TEXT}}]},
                "/v1/messages": {"content": [{"type": "text", "text": TEXT}]},
            }
            body = json.dumps(answers[self.path]).encode()
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


def test_every_provider_of_ours_is_held_to_this():
    assert set(PROVIDERS) == set(NAMES["provider"])


def test_it_is_a_provider(provider):
    assert isinstance(provider, Provider)
    assert provider.name
    assert isinstance(provider.budget, Budget)


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


def test_it_answers_many_in_their_order_with_errors_in_their_places(provider, tmp_path):
    log = tmp_path / "run" / "replies.jsonl"
    malformed = [{"role": "user", "content": 3}]
    first, bad, last = provider.complete_many([MESSAGES, malformed, MESSAGES], log, [0, 0, 0])
    assert first == last == provider.complete(MESSAGES, log, 0)
    assert isinstance(bad, UserError)
    assert provider.complete_many([], log) == []


def test_its_budget_counts_what_it_asks_and_not_what_is_stored(provider, tmp_path):
    log = tmp_path / "run" / "replies.jsonl"
    provider.complete(MESSAGES, log)
    calls = provider.budget.calls
    assert calls == (0 if provider.name == "recorded" else 1)
    provider.complete(MESSAGES, log)
    assert provider.budget.calls == calls
    assert f"{calls}" in provider.budget.summary()
