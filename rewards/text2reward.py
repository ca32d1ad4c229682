"""From a sentence to a reward: ask, parse, check, tell what failed, ask again.

The loop of Text2Reward (Xie et al., ICLR 2024) with three differences: the code is interpreted in
a dialect instead of executed, it is batched and names its terms, and it is checked on sampled
transitions before anything is trained with it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from embodied.errors import UserError
from embodied.files import sha256_bytes
from embodied.runs import runs_root
from embodied.types import Task, Transitions
from rewards.code_reward import CodeReward
from rewards.conversation import TRANSCRIPT, Conversation, code_block, converse
from rewards.gate.report import Gate
from rewards.prompt import PROMPT_VERSION, build_messages, prompt_hash, subject
from rewards.provenance import load_saved
from rewards.providers.base import Provider
from rewards.retrieval import library, nearest

__all__ = ["code_block", "generate", "load_saved"]

REPLIES = "replies.jsonl"


def generate(
    instruction: str,
    task: Task,
    provider: Provider,
    sample: Transitions | None,
    *,
    max_attempts: int = 3,
    examples: int = 0,
    gate: Gate | None = None,
    folder: Path,
) -> CodeReward:
    """Make a reward from a sentence.

    Args:
        instruction: What the robot should do.
        task: Whose documented fields and action the model is shown.
        provider: Answers the prompt.
        sample: Transitions of the task that the code is checked on; None parses only.
        max_attempts: Answers that are tried; each failure is told to the model.
        examples: Accepted rewards of other tasks that the model is shown, the most similar ones.
        gate: See ``rewards.provenance.accept``.
        folder: Gets ``reward.py``, ``provenance.json``, ``diagnostics.json`` and the transcript of
            all attempts. Raw replies that cost money go to one log of all runs, since no other
            run shall pay for them again.

    Raises:
        UserError: No answer, or none that passes within ``max_attempts``.
    """
    shown = nearest(instruction, task, examples, library(runs_root())) if examples else ()
    messages = build_messages(instruction, task, shown)
    origin: dict[str, Any] = {
        "kind": "text2reward",
        "instruction": subject(messages)[1],
        "prompt_version": PROMPT_VERSION,
        "prompt_sha256": prompt_hash(messages),
        "provider": provider.name,
    }
    if shown:
        origin["examples"] = [
            {"task": item.task, "source_sha256": sha256_bytes(item.source.encode())}
            for item in shown
        ]
    asked = Conversation(Path(folder), messages)
    converse(
        [asked],
        provider,
        task,
        sample,
        origin,
        max_attempts=max_attempts,
        log=runs_root() / REPLIES,
        gate=gate,
    )
    return accepted(asked, max_attempts)


def accepted(asked: Conversation, max_attempts: int) -> CodeReward:
    """Return the reward of a conversation.

    Raises:
        UserError: It ended without one, or the provider gave no answer.
    """
    if asked.error is not None:
        raise asked.error
    if asked.reward is not None:
        return asked.reward
    raise UserError(
        f"no reward passed its checks in {max_attempts} attempts; the last failure: "
        f"{asked.failure} (all of them: {asked.folder / TRANSCRIPT}); rephrase the instruction, "
        "use another model, or write the reward yourself with reward=file reward.path=..."
    )
