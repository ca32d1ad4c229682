"""A chat model on this machine: a folder with safetensors, run by the transformers library.

Questions are answered in batches of ``batch_size``, formed by their order, so that a batch that was
cut short is generated again as it was and gives the same answers. Decoding is greedy unless a
temperature is set; the draws then are a function of the questions and their sample numbers.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from embodied.errors import UserError, at_least
from embodied.files import sha256_bytes
from rewards.prompt import Message, prompt_hash
from rewards.providers.base import Reply
from rewards.providers.budget import Budget
from rewards.providers.local_model import DTYPES, LocalModel, check_folder
from rewards.providers.reply_json import counts, item, json_object, text_or
from rewards.providers.settings import caps, config_of
from rewards.providers.stored import ReplyLog, record
from rewards.providers.turns import Turn, images, read_turns
from rewards.providers.workers import sample_numbers


@dataclass(frozen=True)
class TransformersConfig:
    """Which model, where it runs, and how it answers."""

    path: str  # folder of the model: config.json, *.safetensors, tokenizer with chat template
    device: str = "cpu"  # or cuda, cuda:1, mps
    dtype: str = "auto"  # auto (that of the weights), float32, bfloat16 or float16
    temperature: float | None = None  # None decodes greedily
    max_tokens: int = 4096  # longest answer
    batch_size: int = 4  # questions that are answered at a time; those with images one by one
    max_calls: int | None = None  # answers of this run
    max_total_tokens: int | None = None  # of this run, prompts and answers
    max_seconds: float | None = None  # of wall time, from the start of this run


@dataclass(frozen=True)
class Question:
    """One question, and the hash that names it."""

    turns: list[Turn]
    request: str


class TransformersProvider:
    """Asks a local model. Safe between threads, which wait for each other."""

    name = "transformers"

    def __init__(self, config: TransformersConfig | Mapping[str, Any]) -> None:
        self.config = config_of(TransformersConfig, config, self.name, ("path",))
        at_least(
            1,
            {
                "provider.max_tokens": self.config.max_tokens,
                "provider.batch_size": self.config.batch_size,
            },
        )
        if self.config.dtype not in DTYPES:
            raise UserError(
                f"provider.dtype is {self.config.dtype!r}; set one of {', '.join(DTYPES)}"
            )
        if self.config.temperature is not None and self.config.temperature <= 0:
            raise UserError("provider.temperature must be above 0; null decodes greedily")
        self.folder = Path(self.config.path)
        self._digest = check_folder(self.folder)
        self.budget = Budget(caps(self.config))
        self._model: LocalModel | None = None
        self._one_at_a_time = threading.Lock()

    def complete(
        self, messages: Sequence[Message], log: Path | None = None, sample: int = 0
    ) -> Reply:
        """Return the model's answer, from ``log`` where it was made already.

        Raises:
            BudgetError: A cap could be passed; nothing was generated.
            UserError: The model cannot be used, or its answer is empty.
        """
        (reply,) = self.complete_many([messages], log, [sample])
        if isinstance(reply, UserError):
            raise reply
        return reply

    def complete_many(
        self,
        questions: Sequence[Sequence[Message]],
        log: Path | None = None,
        samples: Sequence[int] | None = None,
    ) -> list[Reply | UserError]:
        """Return the answers in the order of the questions, ``batch_size`` generated at a time."""
        found: dict[str, Reply | UserError] = {}
        asked: list[Question | UserError] = []
        for messages, sample in zip(questions, sample_numbers(questions, samples), strict=True):
            try:
                asked.append(self._question(messages, sample))
            except UserError as error:
                asked.append(error)
        distinct = {q.request: q for q in asked if isinstance(q, Question)}
        with self._one_at_a_time:
            replies = ReplyLog(log) if log is not None else None
            for batch in self._batches(list(distinct.values())):
                found |= self._answer(batch, replies)
        return [q if isinstance(q, UserError) else found[q.request] for q in asked]

    def _question(self, messages: Sequence[Message], sample: int) -> Question:
        asked = {
            "model": self._digest,
            "messages": prompt_hash(messages),
            **{key: asdict(self.config)[key] for key in ("dtype", "temperature", "max_tokens")},
            "sample": sample,
        }
        return Question(read_turns(messages), sha256_bytes(json.dumps(asked).encode()))

    def _batches(self, questions: Sequence[Question]) -> list[list[Question]]:
        alone = [[question] for question in questions if images(question.turns)]
        texts = [question for question in questions if not images(question.turns)]
        size = self.config.batch_size
        return alone + [texts[start : start + size] for start in range(0, len(texts), size)]

    def _answer(
        self, batch: Sequence[Question], log: ReplyLog | None
    ) -> dict[str, Reply | UserError]:
        """Return stored answers where the whole batch has them, and else generate the batch."""
        found: dict[str, Reply | UserError] = {}
        for question in batch:
            if (stored := self._stored(question, log)) is not None:
                found[question.request] = stored
        if len(found) == len(batch):
            return found
        try:
            made = self._generate(batch)
        except UserError as error:
            return {question.request: error for question in batch} | found
        for question in batch:
            answer = made[question.request]
            if question.request not in found and isinstance(answer, str):
                if log is not None:
                    shown = images(question.turns)
                    log.append(record(question.request, self.folder.name, 200, answer, shown))
                found[question.request] = self._parsed(answer)
            elif isinstance(answer, UserError):
                found[question.request] = answer
        return found

    def _generate(self, batch: Sequence[Question]) -> dict[str, str | UserError]:
        """Return what the model writes to each, as JSON, or why it cannot be asked."""
        self.budget.check()
        if self._model is None:
            self._model = LocalModel.load(self.folder, self.config.device, self.config.dtype)
        model = self._model
        found: dict[str, str | UserError] = {}
        encoded: dict[str, dict[str, Any]] = {}
        for question in batch:
            try:
                encoded[question.request] = encode(model, question)
            except UserError as error:
                found[question.request] = error
        if not encoded:
            return found
        inputs = list(encoded.values())
        lengths = [entry["input_ids"].shape[1] for entry in inputs]
        longest = min(self.config.max_tokens, model.context - max(lengths))
        seed = int(sha256_bytes("".join(encoded).encode())[:15], 16)
        with self.budget.charge(sum(lengths), longest * len(inputs), calls=len(inputs)) as charge:
            seconds = self.budget.remaining().seconds
            made = model.write(inputs, longest, self.config.temperature, seed, seconds)
            charge.settle(_usage(sum(lengths), sum(entry.tokens for entry in made)))
        for request, entry, length in zip(encoded, made, lengths, strict=True):
            usage = _usage(length, entry.tokens)
            found[request] = json.dumps({"text": entry.text, "stop": entry.stop, "usage": usage})
        return found

    def _stored(self, question: Question, log: ReplyLog | None) -> Reply | None:
        for kept in log.answers(question.request) if log is not None else []:
            reply = self._parsed(str(kept.get("raw")))
            if isinstance(reply, Reply):
                return reply
        return None

    def _parsed(self, raw: str) -> Reply | UserError:
        """Return the reply that a record holds; an error where the model wrote nothing."""
        body = json_object(raw)
        text = item(body, "text")
        if not isinstance(text, str) or not text.strip():
            return UserError(
                f"the model in {self.folder} wrote nothing; check its chat template, or take "
                "another model"
            )
        usage = counts(body.get("usage"), {name: (name,) for name in _usage(0, 0)})
        return Reply(text, self.folder.name, usage, raw, stop=text_or(body.get("stop"), ""))


def encode(model: LocalModel, question: Question) -> dict[str, Any]:
    """Return a question as the model's input.

    Raises:
        UserError: The model cannot take it, or has no room for an answer.
    """
    encoded = model.encode(question.turns)
    length = encoded["input_ids"].shape[1]
    if length >= model.context:
        raise UserError(
            f"the messages take {length} tokens and the model's context is {model.context}; "
            "take a model with a longer one"
        )
    return encoded


def _usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    return {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
