"""A loopback server with scripted answers, and the wire formats that it can speak."""

import json
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rewards.providers.anthropic_http import AnthropicProvider
from rewards.providers.openai_http import OpenAIProvider
from rewards.providers.transformers_chat import TransformersProvider

MESSAGES = [
    {"role": "system", "content": "You write rewards."},
    {"role": "user", "content": "Write a reward."},
]


def openai_body(text="hello", **extra) -> bytes:
    body = {
        "model": "served-model",
        "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 50},
    }
    return json.dumps({**body, **extra}).encode()


def anthropic_body(text="hello", **extra) -> bytes:
    body = {
        "type": "message",
        "model": "served-model",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 100, "output_tokens": 50},
    }
    return json.dumps({**body, **extra}).encode()


@dataclass(frozen=True)
class Format:
    """What a test needs to know of a wire format."""

    name: str
    provider: type
    body: Callable[..., bytes]  # of a good answer
    path: str
    key_header: tuple[str, str]  # name, and value with the key as {}
    no_text: str  # what an answer without text is told by
    stop: str


FORMATS = {
    "openai": Format(
        "openai",
        OpenAIProvider,
        openai_body,
        "/v1/chat/completions",
        ("Authorization", "Bearer {}"),
        "choices",
        "stop",
    ),
    "anthropic": Format(
        "anthropic",
        AnthropicProvider,
        anthropic_body,
        "/v1/messages",
        ("x-api-key", "{}"),
        "text block",
        "end_turn",
    ),
}


def write_answer(handler, status, body, headers):
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


class Server:
    """Answers every request by ``choose(handler, body)``, or else with the next of ``script``."""

    def __init__(self):
        self.script = []
        self.choose = None
        self.requests = []
        self.stop = threading.Event()
        self.lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer.lock:
                    outer.requests.append((self.path, dict(self.headers), body))
                    write = outer.script.pop(0) if outer.choose is None else None
                (write or outer.choose(body))(self)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.handle_error = lambda *_: None  # clients hang up on purpose
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"

    def close(self):
        self.stop.set()
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def messages():
    return [dict(message) for message in MESSAGES]


@pytest.fixture
def server():
    running = Server()
    yield running
    running.close()


@pytest.fixture(params=sorted(FORMATS))
def wire(request) -> Format:
    """Every wire format."""
    return FORMATS[request.param]


@pytest.fixture
def openai() -> Format:
    return FORMATS["openai"]


@pytest.fixture
def anthropic() -> Format:
    return FORMATS["anthropic"]


@pytest.fixture
def answer(wire):
    """Makes scripted answers: functions that write them to a handler; a good one by default."""

    def scripted(status=200, body=None, **headers):
        content = wire.body() if body is None else body
        return lambda handler: write_answer(handler, status, content, headers)

    return scripted


@pytest.fixture
def make(server, wire):
    """Return a function that makes a provider; waits are recorded in ``waits``, not slept."""

    def run(**settings):
        config = {"base_url": server.url, "model": "asked-model", "timeout_s": 5.0, **settings}
        waits = []
        provider = wire.provider(config, sleep=waits.append)
        provider.waits = waits
        return provider

    return run


@pytest.fixture
def ask(server, make):
    """Return a function that asks once, with a script of answers and some settings."""

    def run(*script, log=None, sample=0, **settings):
        server.script = list(script)
        run.provider = make(**settings)
        run.waits = run.provider.waits
        return run.provider.complete(MESSAGES, log, sample)

    return run


CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<image>"]


@pytest.fixture(scope="session")
def tiny_tokenizer():
    """A byte-level tokenizer with a few merges, and a chat template."""
    pytest.importorskip("transformers")
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=512, special_tokens=SPECIAL, initial_alphabet=alphabet)
    tokenizer.train_from_iterator([Path(__file__).read_text(encoding="utf-8")], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        chat_template=CHAT_TEMPLATE,
    )


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory, tiny_tokenizer):
    """The folder of a Llama of two layers with random weights: it writes noise."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    config = LlamaConfig(
        vocab_size=len(tiny_tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=8192,
        eos_token_id=tiny_tokenizer.eos_token_id,
        pad_token_id=tiny_tokenizer.pad_token_id,
        initializer_range=1.0,  # so that the answer depends on the question
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_seeing_model(tmp_path_factory, tiny_tokenizer):
    """The folder of a LLaVA of one layer each with random weights."""
    import torch
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    folder = tmp_path_factory.mktemp("models") / "tiny-llava"
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "initializer_range": 1.0}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**sizes, **heads, image_size=32, patch_size=8),
        text_config=LlamaConfig(**sizes, **heads, vocab_size=len(tiny_tokenizer)),
        image_token_index=tiny_tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlavaForConditionalGeneration(config).save_pretrained(folder)
    image_processor = CLIPImageProcessorPil(
        size={"height": 32, "width": 32}, crop_size={"height": 32, "width": 32}
    )
    template = (
        "{% for message in messages %}<|{{ message.role }}|>{% for part in message.content %}"
        "{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}{% endfor %}"
        "<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    LlavaProcessor(
        image_processor=image_processor,
        tokenizer=tiny_tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
    ).save_pretrained(folder)
    return folder


@pytest.fixture
def make_local(tiny_model):
    """Return a function that makes a provider of the tiny model."""

    def run(**settings):
        return TransformersProvider({"path": str(tiny_model), "max_tokens": 12, **settings})

    return run


@pytest.fixture
def folder(tiny_model, tmp_path):
    """A copy of the model that a test may spoil."""
    shutil.copytree(tiny_model, tmp_path / "model")
    return tmp_path / "model"
