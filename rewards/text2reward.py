"""From a sentence to a reward: ask, parse, check, tell what failed, ask again.

The loop of Text2Reward (Xie et al., ICLR 2024) with three differences: the code is interpreted in
a dialect instead of executed, it is batched and names its terms, and it is checked on sampled
transitions before anything is trained with it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from embodied.errors import UserError
from embodied.files import sha256_bytes
from embodied.runs import runs_root
from embodied.types import Task, Transitions
from rewards.code_reward import CodeReward
from rewards.prompt import PROMPT_VERSION, Message, build_messages, feedback, prompt_hash, subject
from rewards.provenance import accept, load_saved, save
from rewards.providers.base import NoReplyError, Provider, Reply, append_line

__all__ = ["generate", "load_saved"]

REPLIES = "replies.jsonl"
TRANSCRIPT = "transcript.jsonl"
FENCE = re.compile(r"^```[ \t]*(?:python|py)?[ \t]*\n(.*?)^```[ \t]*$", re.DOTALL | re.MULTILINE)
MAX_REPLY = 100_000  # characters


def generate(
    instruction: str,
    task: Task,
    provider: Provider,
    sample: Transitions | None,
    *,
    max_attempts: int = 3,
    folder: Path,
) -> CodeReward:
    """Make a reward from a sentence.

    Args:
        instruction: What the robot should do.
        task: Whose documented fields and action the model is shown.
        provider: Answers the prompt.
        sample: Transitions of the task that the code is checked on; None parses only.
        max_attempts: Answers that are tried; each failure is told to the model.
        folder: Gets ``reward.py``, ``provenance.json``, ``diagnostics.json`` and the transcript of
            all attempts. Raw replies that cost money go to one log of all runs, since no other
            run shall pay for them again.

    Raises:
        UserError: No answer, or none that passes within ``max_attempts``.
    """
    if max_attempts < 1:
        raise UserError(f"max_attempts is {max_attempts} and must be at least 1")
    folder = Path(folder)
    messages = build_messages(instruction, task)
    asked = {
        "kind": "text2reward",
        "instruction": subject(messages)[1],
        "prompt_version": PROMPT_VERSION,
        "prompt_sha256": prompt_hash(messages),
        "provider": provider.name,
    }
    failure = ""
    for attempt in range(1, max_attempts + 1):
        reply = _ask(provider, messages, runs_root() / REPLIES, failure)
        try:
            reward = accept(
                code_block(reply.text), task, sample, {**asked, **_answered(reply, attempt)}
            )
        except UserError as error:
            failure = str(error)
            _record(folder, attempt, messages, reply, failure)
            messages = [*messages, *feedback(reply.text, failure)]
            continue
        _record(folder, attempt, messages, reply, "")
        save(reward, folder, sample)
        return reward
    raise UserError(
        f"no reward passed its checks in {max_attempts} attempts; the last failure: {failure} "
        f"(all of them: {folder / TRANSCRIPT}); rephrase the instruction, use another model, or "
        "write the reward yourself with reward=file reward.path=..."
    )


def _ask(provider: Provider, messages: list[Message], log: Path, failure: str) -> Reply:
    try:
        return provider.complete(messages, log)
    except NoReplyError:
        if failure:  # kept replies have no second try
            raise UserError(f"the recorded reply was refused: {failure}") from None
        raise


def _answered(reply: Reply, attempt: int) -> dict[str, Any]:
    """Return what the provenance tells of the reply that was accepted."""
    return {
        "reply_sha256": sha256_bytes(reply.text.encode("utf-8", "surrogatepass")),
        "model": reply.model,
        "attempts": attempt,
        **({"statement": reply.statement} if reply.statement else {}),
    }


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


def _record(
    folder: Path, attempt: int, messages: list[Message], reply: Reply, failure: str
) -> None:
    record: dict[str, Any] = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "attempt": attempt,
        "prompt_sha256": prompt_hash(messages),
        "messages": messages,
        "reply": reply.text,
        "model": reply.model,
        "usage": dict(reply.usage),
        "failure": failure,
    }
    append_line(folder / TRANSCRIPT, record)
