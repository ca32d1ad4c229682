"""Conversations that end in a reward: ask, parse, check, tell what failed, ask again.

Several run beside each other as samples of one question. A provider's replies are stored by the
provider, so a conversation that was cut short is held again from its start without asking anything
twice, and its transcript is written anew.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embodied.errors import UserError
from embodied.files import sha256_bytes
from embodied.types import Task, Transitions
from rewards.code_reward import CodeReward
from rewards.gate.report import Gate
from rewards.images import described
from rewards.prompt import Message, feedback, prompt_hash
from rewards.provenance import accept, save
from rewards.providers.base import NoReplyError, Provider, Reply, append_line

TRANSCRIPT = "transcript.jsonl"
FENCE = re.compile(r"^```[ \t]*(?:python|py)?[ \t]*\n(.*?)^```[ \t]*$", re.DOTALL | re.MULTILINE)
MAX_REPLY = 100_000  # characters


@dataclass
class Conversation:
    """One sample: what was said so far, and what came of it.

    Attributes:
        folder: Gets ``reward.py``, ``provenance.json`` and ``diagnostics.json`` of an accepted
            reward, and the transcript of all attempts.
        messages: What the next question holds.
        sample: Number of the sample, where several answers to the same messages are wanted.
        failure: Why the newest reply was refused, ``""`` where none was.
        reward: The accepted reward.
        error: Why the provider gave no answer, where it gave none.
    """

    folder: Path
    messages: list[Message]
    sample: int = 0
    failure: str = ""
    reward: CodeReward | None = None
    error: UserError | None = None


def converse(
    conversations: Sequence[Conversation],
    provider: Provider,
    task: Task,
    checked_on: Transitions | None,
    origin: Mapping[str, Any],
    *,
    max_attempts: int,
    log: Path,
    gate: Gate | None = None,
) -> None:
    """Hold conversations until each has an accepted reward or ``max_attempts`` replies.

    Args:
        conversations: Asked at the same time; each is left with its reward, the failure of its
            last reply, or the provider's error.
        provider: Answers.
        task: Whose fields and action the rewards read.
        checked_on: Transitions ``[N]`` that a reward is tried on; None parses only.
        origin: What the provenance of each reward tells besides.
        max_attempts: Replies that each may take; a failure is told to the model.
        log: Where paid replies are kept.
        gate: See ``rewards.provenance.accept``.

    Raises:
        UserError: ``max_attempts`` is below 1.
    """
    if max_attempts < 1:
        raise UserError(f"max_attempts is {max_attempts} and must be at least 1")
    for item in conversations:
        (item.folder / TRANSCRIPT).unlink(missing_ok=True)
    for attempt in range(1, max_attempts + 1):
        asked = [item for item in conversations if item.reward is None and item.error is None]
        for item, reply in zip(asked, _ask(provider, asked, log), strict=True):
            if isinstance(reply, Reply):
                _judge(item, reply, attempt, task, checked_on, origin, gate)
            elif isinstance(reply, NoReplyError) and item.failure:  # kept ones: no second try
                item.error = UserError(f"the recorded reply was refused: {item.failure}")
            else:
                item.error = reply


def _ask(provider: Provider, asked: Sequence[Conversation], log: Path) -> list[Reply | UserError]:
    if not asked:
        return []
    if len(asked) == 1 and not asked[0].sample:  # a single question needs no workers
        try:
            return [provider.complete(asked[0].messages, log)]
        except UserError as error:
            return [error]
    return provider.complete_many(
        [item.messages for item in asked], log, [item.sample for item in asked]
    )


def _judge(
    item: Conversation,
    reply: Reply,
    attempt: int,
    task: Task,
    checked_on: Transitions | None,
    origin: Mapping[str, Any],
    gate: Gate | None,
) -> None:
    answered = {
        "reply_sha256": sha256_bytes(reply.text.encode("utf-8", "surrogatepass")),
        "model": reply.model,
        "attempts": attempt,
        **({"statement": reply.statement} if reply.statement else {}),
    }
    try:
        told = {**origin, **answered}
        found = accept(code_block(reply.text), task, checked_on, told, gate=gate)
        failure = ""
    except UserError as error:
        found, failure = None, str(error)
    record = {
        "attempt": attempt,
        "prompt_sha256": prompt_hash(item.messages),
        "messages": described(item.messages),
        "reply": reply.text,
        "model": reply.model,
        "usage": dict(reply.usage),
        "failure": failure,
    }
    append_line(item.folder / TRANSCRIPT, record)
    item.failure = failure
    if found is None:
        item.messages = [*item.messages, *feedback(reply.text, failure)]
    else:
        save(found, item.folder, checked_on, gate=gate)
        item.reward = found


def code_block(text: str) -> str:
    """Return the code of the one fenced block of a reply.

    Raises:
        UserError: There is none, more than one, or the reply is too long.
    """
    blocks = FENCE.findall(text.replace("\r\n", "\n")) if len(text) <= MAX_REPLY else []
    if len(blocks) != 1:
        found = "more than one" if blocks else "no complete"
        raise UserError(f"the reply holds {found} fenced python block; give exactly one")
    return str(blocks[0])
