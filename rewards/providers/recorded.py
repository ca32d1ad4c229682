"""Replies kept in the repository, so that the whole path runs without a network and without a key.

They were written by the project's authors, each as an answer to one exact prompt: they prove the
pipeline, not a model. To see a prompt, and to keep a reply to it:

    python -m rewards.providers.recorded push "push the cube onto the target"
    python -m rewards.providers.recorded push "push the cube onto the target" --reply reply.md

The record of further answers to one prompt (``sample`` 1, 2...) has their number behind its name.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from embodied import registry
from embodied.errors import UserError
from embodied.files import read_json, write_json
from embodied.types import Task
from rewards.images import described
from rewards.prompt import Message, build_messages, prompt_hash, subject
from rewards.providers.base import NoReplyError, Reply
from rewards.providers.budget import Budget
from rewards.providers.workers import ask_all, sample_numbers

FOLDER = Path(__file__).resolve().parent.parent / "recorded"
SCHEMA_VERSION = 1
AUTHOR = "the project's authors"
STATEMENT = "written once as an answer to this exact prompt, before any training with it"
KEYS = (
    *("schema_version", "prompt_hash", "instruction", "task", "messages", "reply"),
    *("written", "author", "statement"),
)


class RecordedProvider:
    """Answers a prompt with the reply that is kept for exactly it."""

    name = "recorded"

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = Path(folder) if folder is not None else FOLDER
        self.budget = Budget()  # nothing is asked of anybody

    def complete(
        self, messages: Sequence[Message], log: Path | None = None, sample: int = 0
    ) -> Reply:
        """Return the kept reply; ``log`` stays untouched, since nothing is paid.

        Raises:
            NoReplyError: None is kept for these messages.
            UserError: The kept record does not fit its name.
        """
        path = self.folder / record_name(messages, sample)
        if not path.exists():
            raise NoReplyError(self._missing(messages))
        record = read_record(path)
        return Reply(
            text=record["reply"],
            model="recorded",
            usage={},
            raw=record["reply"],
            statement=f"{record['statement']} ({record['author']}, {record['written']})",
        )

    def complete_many(
        self,
        questions: Sequence[Sequence[Message]],
        log: Path | None = None,
        samples: Sequence[int] | None = None,
    ) -> list[Reply | UserError]:
        """Return the kept replies in the order of the questions."""
        numbers = sample_numbers(questions, samples)
        return ask_all(
            len(questions), lambda index: self.complete(questions[index], log, numbers[index]), 1
        )

    def instructions(self, task: str) -> list[str]:
        """Return the instructions with a kept reply for a task, sorted."""
        records = [read_record(path) for path in sorted(self.folder.glob("*.json"))]
        return sorted({record["instruction"] for record in records if record["task"] == task})

    def _missing(self, messages: Sequence[Message]) -> str:
        task, instruction = _subject(messages)
        known = "; ".join(f'"{text}"' for text in self.instructions(task)) or "none"
        return (
            f'no recorded reply for the instruction "{instruction}" on task {task}; configure a '
            "model with provider=openai provider.base_url=... provider.model=... (any "
            "OpenAI-compatible server: vLLM, Ollama, llama.cpp or a hosted one), with "
            "provider=anthropic or with provider=transformers, or write the reward yourself with "
            "reward=file reward.path=...; recorded for this task: " + known
        )


def record_name(messages: Sequence[Message], sample: int = 0) -> str:
    """Return the name of the file that keeps an answer to messages."""
    return f"{prompt_hash(messages)}{f'-{sample}' if sample else ''}.json"


def read_record(path: Path) -> dict[str, Any]:
    """Read a record and check that its messages are those that its name stands for."""
    record = read_json(path, KEYS)
    try:
        named = path.stem.partition("-")[0]
        fits = prompt_hash(record["messages"]) == record["prompt_hash"] == named
    except (TypeError, ValueError, UserError):
        fits = False
    texts = (record[key] for key in KEYS if key not in ("schema_version", "messages"))
    if not fits or record["schema_version"] != SCHEMA_VERSION:
        raise UserError(f"{path} does not fit its own prompt hash or schema; restore or remove it")
    if not all(isinstance(text, str) for text in texts):
        raise UserError(f"{path} holds something that is not text; restore or remove it")
    return record


def write_record(folder: Path, task: Task, instruction: str, reply: str) -> Path:
    """Keep a reply to the present prompt of a task and an instruction.

    Raises:
        UserError: A reply to this prompt is kept already.
    """
    return keep_reply(folder, build_messages(instruction, task), reply)


def keep_reply(folder: Path, messages: Sequence[Message], reply: str, sample: int = 0) -> Path:
    """Keep a reply to messages, be they a first prompt or a whole dialogue.

    Raises:
        UserError: A reply to these messages is kept already.
    """
    path = folder / record_name(messages, sample)
    if path.exists():
        raise UserError(f"{path} exists; a kept reply is never replaced")
    task, sentence = _subject(messages)
    record = {
        "schema_version": SCHEMA_VERSION,
        "prompt_hash": prompt_hash(messages),
        "instruction": sentence,
        "task": task,
        "messages": described(messages),
        "reply": reply,
        "written": datetime.now(UTC).date().isoformat(),
        "author": AUTHOR,
        "statement": STATEMENT,
    }
    write_json(path, record)
    return path


def _subject(messages: Sequence[Message]) -> tuple[str, str]:
    """Return the task and the instruction of messages, which may show images."""
    return subject([{**message, "content": _text(message)} for message in messages])


def _text(message: Message) -> str:
    content = message.get("content")
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
    return "\n\n".join(str(part["text"]) for part in parts if part.get("type") == "text")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a prompt and its hash, or keep a reply to it."""
    parser = argparse.ArgumentParser(
        prog="python -m rewards.providers.recorded", description="Show a prompt or keep a reply."
    )
    parser.add_argument("task", help="name of the task, such as push")
    parser.add_argument("instruction", help="the sentence")
    parser.add_argument("--reply", type=Path, help="text file with the reply to keep")
    given = parser.parse_args(arguments)
    try:
        task = registry.resolve("task", given.task)()
        if given.reply is None:
            messages = build_messages(given.instruction, task)
            for message in messages:
                print(f"[{message['role']}]\n{message['content']}\n")
            print(f"prompt_hash {prompt_hash(messages)}")
        else:
            reply = given.reply.read_text(encoding="utf-8")
            print(write_record(FOLDER, task, given.instruction, reply))
    except (UserError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
