"""A local chat model: two layers with random weights, made by the test."""

import json
import threading

import pytest

from rewards.providers.base import BudgetError, Reply, read_lines
from rewards.providers.local_model import LocalModel
from rewards.providers.transformers_chat import TransformersProvider
from rewards.providers.turns import read_turns

TEXTS = ["Hello there", "a question that is much longer than the other ones", "a"]


def question(text):
    return [{"role": "system", "content": "You write rewards."}, {"role": "user", "content": text}]


QUESTIONS = [question(text) for text in TEXTS]


@pytest.fixture
def generations(monkeypatch):
    """The sizes of the batches that were generated."""
    sizes = []
    write = LocalModel.write

    def counted(self, questions, *arguments):
        sizes.append(len(questions))
        return write(self, questions, *arguments)

    monkeypatch.setattr(LocalModel, "write", counted)
    return sizes


def test_the_answer_is_what_the_model_gives_token_by_token(make_local, tiny_model):
    """Greedy decoding, written out with the library's own classes."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    asked = "".join(f"<|{turn['role']}|>{turn['content']}<|end|>" for turn in QUESTIONS[0])
    tokens = tokenizer(asked + "<|assistant|>", return_tensors="pt")["input_ids"]
    prompt = tokens.shape[1]
    with torch.inference_mode():
        for _ in range(12):
            following = model(tokens).logits[:, -1:].argmax(-1)
            tokens = torch.cat([tokens, following], 1)
    reply = make_local().complete(QUESTIONS[0])
    assert reply.text == tokenizer.decode(tokens[0, prompt:], skip_special_tokens=True)
    assert reply.usage == {"prompt_tokens": prompt, "completion_tokens": 12}
    assert (reply.model, reply.stop) == ("tiny-llama", "length")


def test_questions_of_one_batch_do_not_see_their_padding(make_local, generations):
    alone = [make_local().complete(asked) for asked in QUESTIONS]
    together = make_local(batch_size=3).complete_many(QUESTIONS)
    assert [reply.text for reply in together] == [reply.text for reply in alone]
    assert [reply.usage for reply in together] == [reply.usage for reply in alone]
    assert len({reply.text for reply in together}) == 3
    assert generations == [1, 1, 1, 3]


def test_an_answer_ends_where_the_model_ends_it(folder):
    """The fifth token of the usual answer is made one that ends it."""
    import torch

    model = LocalModel.load(folder, "cpu", "auto")
    encoded = model.encode(read_turns(QUESTIONS[0]))
    rows = model._model.generate(**encoded, do_sample=False, max_new_tokens=12)
    written = rows[0, encoded["input_ids"].shape[1] :].tolist()
    count = written.index(written[4]) + 1
    settings = json.loads((folder / "generation_config.json").read_text())
    settings["eos_token_id"] = [written[4]]
    (folder / "generation_config.json").write_text(json.dumps(settings))
    before = torch.random.get_rng_state()
    reply = TransformersProvider({"path": str(folder), "max_tokens": 12}).complete(QUESTIONS[0])
    assert (reply.stop, reply.usage["completion_tokens"]) == ("stop", count)
    assert reply.text == model._tokenizer.decode(written[:count], skip_special_tokens=True)
    assert torch.equal(before, torch.random.get_rng_state())


def test_what_was_generated_is_not_generated_again(make_local, tmp_path, generations):
    log = tmp_path / "log.jsonl"
    first = make_local().complete_many(QUESTIONS, log)
    assert make_local().complete_many(QUESTIONS, log) == first
    assert make_local().complete(QUESTIONS[1], log) == first[1]
    assert generations == [3]
    assert [json.loads(record["raw"])["text"] for record in read_lines(log)] == [
        reply.text for reply in first
    ]
    make_local(max_tokens=13).complete(QUESTIONS[1], log)
    assert generations == [3, 1]


def test_equal_questions_are_generated_once(make_local, tmp_path, generations):
    found = make_local().complete_many([QUESTIONS[0]] * 3 + [QUESTIONS[1]], tmp_path / "log.jsonl")
    assert found[0] == found[1] == found[2]
    assert generations == [2]
    provider, texts = make_local(), []
    threads = [
        threading.Thread(
            target=lambda: texts.append(provider.complete(QUESTIONS[2], tmp_path / "l").text)
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(texts)) == 1
    assert generations == [2, 1]


def test_samples_differ_and_are_repeatable(make_local, tmp_path):
    provider = make_local(temperature=1.5)
    found = provider.complete_many([QUESTIONS[0]] * 4, None, [0, 1, 2, 3])
    assert len({reply.text for reply in found}) == 4
    again = make_local(temperature=1.5).complete_many([QUESTIONS[0]] * 4, None, [0, 1, 2, 3])
    assert again == found


def test_a_batch_that_was_cut_short_gives_the_same_answers(make_local, tmp_path):
    log = tmp_path / "log.jsonl"
    whole = make_local(temperature=1.5).complete_many(QUESTIONS, log)
    (line, *_) = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(line)  # killed after the first of three was kept
    assert make_local(temperature=1.5).complete_many(QUESTIONS, log) == whole
    assert len(read_lines(log)) == 3


def test_one_question_that_cannot_be_asked_takes_no_other_with_it(make_local, tmp_path):
    asked = [QUESTIONS[0], question("x" * 9000), [{"role": "tool", "content": "x"}], QUESTIONS[2]]
    found = make_local().complete_many(asked, tmp_path / "log.jsonl")
    assert [isinstance(reply, Reply) for reply in found] == [True, False, False, True]
    assert "the model's context is 8192" in str(found[1])
    assert "the role 'tool'" in str(found[2])
    assert found[0].text == make_local().complete(QUESTIONS[0]).text


def test_the_answer_fits_into_the_context(make_local):
    reply = make_local(max_tokens=100).complete(question("x" * 8150))
    assert sum(reply.usage.values()) == 8192
    assert reply.stop == "length"


def test_caps_hold(make_local):
    provider = make_local(max_calls=2, batch_size=1)
    found = provider.complete_many(QUESTIONS)
    assert [type(reply) for reply in found] == [Reply, Reply, BudgetError]
    with pytest.raises(BudgetError, match="could take"):
        make_local(max_total_tokens=20).complete(QUESTIONS[0])
    provider = make_local(max_total_tokens=200)
    provider.complete_many(QUESTIONS)
    assert provider.budget.calls == 3
    assert 0 < provider.budget.tokens <= 200
    assert provider.budget.remaining().tokens == 200 - provider.budget.tokens
    with pytest.raises(BudgetError, match="max_seconds"):
        make_local(max_seconds=0.0).complete(QUESTIONS[0])


def test_an_answer_ends_when_the_seconds_do(make_local):
    """The first token takes longer than what is left, so it is the only one."""
    provider = make_local(max_tokens=2000, max_seconds=3600.0)
    provider.complete(QUESTIONS[0])  # loads the model
    left = provider.budget.remaining()
    provider.budget.remaining = lambda: type(left)(None, None, None, 1e-9)
    assert provider.complete(QUESTIONS[1]).usage["completion_tokens"] == 1
