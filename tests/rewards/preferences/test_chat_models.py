"""Chat models that are real, with random weights: their labels are noise, all else is checked."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from rewards.label_store import LabelStore
from rewards.preferences import labelling
from rewards.preferences.chat import ChatSource
from rewards.preferences.source import PREFERENCES, Comparison, Side
from rewards.providers.base import read_lines
from rewards.providers.openai_http import OpenAIProvider
from rewards.providers.transformers_chat import TransformersProvider
from tests.rewards.providers import conftest as parts
from tests.rewards.providers.test_real_server import SERVE, free_port, wait_until_it_answers

tiny_tokenizer, tiny_seeing_model = parts.tiny_tokenizer, parts.tiny_seeing_model


def items(count):
    """Comparisons of clips of three frames, each of one colour."""
    colours = np.random.default_rng(0).integers(0, 256, (count, 2, 3, 1, 1, 3), dtype=np.uint8)
    clips = np.broadcast_to(colours, (count, 2, 3, 16, 16, 3))
    return [
        Comparison("stand up", Side(f"a{n}", first), Side(f"b{n}", second))
        for n, (first, second) in enumerate(clips)
    ]


@pytest.fixture(name="store")
def _store(tmp_path):
    made = LabelStore(tmp_path / "labels.db")
    yield made
    made.close()


@pytest.fixture(name="serve", scope="module")
def _serve(tmp_path_factory, tiny_seeing_model):
    """``transformers serve`` with a model that sees; its base URL."""
    pytest.importorskip("fastapi", reason="transformers[serving] is not installed")
    folder, port = tmp_path_factory.mktemp("serve"), free_port()
    command = [sys.executable, "-c", SERVE, "serve", str(tiny_seeing_model), "--device", "cpu"]
    own = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder), "OMP_NUM_THREADS": "1"}
    with (folder / "log").open("wb") as stream:
        process = subprocess.Popen(
            [*command, "--port", str(port), "--host", "127.0.0.1"],
            **{"stdout": stream, "stderr": stream, "env": own},
        )
    try:
        wait_until_it_answers(port, process, folder / "log")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait()


def check_noise(store, source, found, log):
    """Check what a model of random weights left: every reply, once, and its tokens."""
    assert set(found) <= {None, *PREFERENCES}
    labels = store.labels(source.parser)
    assert len(labels) == len(found)
    assert all((label.value is None) == bool(label.reason) for label in labels)
    raws = [answer.raw for label in labels for answer in store.answers(label.key)]
    orders = [order for raw in raws for order in json.loads(raw)["orders"]]
    kept = read_lines(log)
    assert all(record["status"] == 200 for record in kept)
    looked = [record for record in kept if "images" in record]
    assert [len(record["images"]) for record in looked] == [2] * len(orders)
    # Where noise repeats itself, the second stage has one question less.
    notes = {order["look"]["text"] for order in orders}
    assert len(kept) == len(orders) + len(notes)
    assert len(notes) > 1, "the notes do not depend on the images"
    replies = [order[stage] for order in orders for stage in ("look", "decide")]
    assert {reply["raw"] for reply in replies} == {record["raw"] for record in kept}
    usages = [json.loads(reply["raw"])["usage"] for reply in replies]
    (told,) = store.spent().values()
    assert told.calls == len(found)
    assert told.tokens_in == sum(usage["prompt_tokens"] for usage in usages)
    assert told.tokens_out == sum(usage["completion_tokens"] for usage in usages) > 0
    return len(kept)


def test_a_real_server_that_sees(serve, tiny_seeing_model, store, tmp_path):
    log = tmp_path / "replies.jsonl"
    settings = {"base_url": serve, "model": str(tiny_seeing_model), "max_tokens": 8}
    source = ChatSource(OpenAIProvider({**settings, "max_calls": 100}), log, order_swap=True)
    asked = items(4)
    found = labelling.label(asked, source, store, workers=3)
    assert source.provider.budget.calls == check_noise(store, source, found, log)
    again = ChatSource(OpenAIProvider({**settings, "max_calls": 1}), log, order_swap=True)
    assert labelling.label(asked, again, store, workers=3) == found
    assert again.provider.budget.calls == 0


def test_a_local_model_answers_in_batches(tiny_seeing_model, store, tmp_path, monkeypatch):
    log, sizes = tmp_path / "replies.jsonl", []
    complete_many = TransformersProvider.complete_many

    def counted(self, questions, *rest):
        sizes.append(len(questions))
        return complete_many(self, questions, *rest)

    monkeypatch.setattr(TransformersProvider, "complete_many", counted)
    settings = {"path": str(tiny_seeing_model), "max_tokens": 8, "batch_size": 4}
    source = ChatSource(TransformersProvider(settings), log)
    assert source.batch == 4
    found = labelling.label(items(6), source, store)
    assert sizes == [4, 4, 2, 2]
    # A batch of which a reply is known is generated again as it was.
    assert source.provider.budget.calls >= check_noise(store, source, found, log)
    again = ChatSource(TransformersProvider(settings), log)
    assert again.request(items(1)[0])["provider"]["files"]
    assert labelling.label(items(6), again, store) == found
    assert again.provider.budget.calls == 0
