"""The next program of an improvement loop: a person's word and what was measured go to the model.

The conversation is a function of the run's rounds alone: the first prompt, then every earlier
program with what came of it. Replies that are kept in the repository answer exact texts, and
measured numbers differ in their last digits from machine to machine, so for those the numbers are
left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from embodied.errors import UserError
from embodied.files import write_json
from embodied.rounds import Round
from embodied.runs import runs_root
from embodied.types import Reward, RewardContext, Task
from rewards.conversation import Conversation, converse
from rewards.makers import gate_of
from rewards.prompt import PROMPT_VERSION, Message, build_messages, code_message, prompt_hash
from rewards.providers.base import Provider
from rewards.text2reward import REPLIES, accepted

MESSAGES = "messages.json"  # the question, kept before it is asked
MAX_SAID = 1000  # characters
AGAIN = (
    "Rewrite the reward so that it does what is asked. Reply with the whole function, again in one "
    "fenced python block."
)


def revise(
    context: RewardContext,
    rounds: Sequence[Round],
    said: str,
    *,
    instruction: str,
    max_attempts: int,
    measurements: bool | None,
) -> Reward:
    """Have the model write the next program after a person's word on the newest one.

    Args:
        context: Its folder gets the reward, the question and the transcript.
        rounds: Every earlier round.
        said: What was wrong and what is wanted.
        instruction: The task in the words of the first prompt.
        max_attempts: Answers that are tried.
        measurements: Whether the model is told what was measured; None: unless replies are kept
            ones.

    Raises:
        UserError: No answer, or none that passes its checks.
    """
    task, provider = rewritable(context)
    told = provider.name != "recorded" if measurements is None else measurements
    messages = revision_messages(instruction, task, rounds, said, measurements=told)
    write_json(context.folder / MESSAGES, {"messages": messages})
    origin = origin_of(instruction, messages, provider.name) | {"said": sentence(said)}
    asked = Conversation(context.folder, messages)
    converse(
        [asked],
        provider,
        task,
        context.sample,
        origin,
        max_attempts=max_attempts,
        log=runs_root() / REPLIES,
        gate=gate_of(context),
    )
    return accepted(asked, max_attempts)


def rewritable(context: RewardContext) -> tuple[Task, Provider]:
    """Return the task and the provider of a context that can have a reward rewritten."""
    if context.task is None or context.provider is None:
        raise UserError("only rewards of documented tasks are improved, by a language model")
    return context.task, context.provider()


def origin_of(instruction: str, messages: Sequence[Message], provider: str) -> dict[str, Any]:
    """Return what the provenance of a rewritten reward tells of its question."""
    return {
        "kind": "text2reward",
        "instruction": " ".join(instruction.split()),
        "prompt_version": PROMPT_VERSION,
        "prompt_sha256": prompt_hash(messages),
        "provider": provider,
    }


def revision_messages(
    instruction: str, task: Task, rounds: Sequence[Round], said: str, *, measurements: bool
) -> list[Message]:
    """Return the whole conversation: the first prompt, every program, and what came of each.

    Raises:
        UserError: There is no program yet, or what was said is empty or too long.
    """
    if not rounds:
        raise UserError("there is no reward to improve; make one with `embodied reward`")
    messages = build_messages(instruction, task)
    heard = [*(item.said for item in rounds[1:]), sentence(said)]
    for item, word in zip(rounds, heard, strict=True):
        parts = [measured(item)] if measurements else []
        parts += [f"A person watched the policy that it taught and says: {word}"] if word else []
        text = "\n\n".join([*filter(None, parts), AGAIN])
        messages += [code_message(item.source), {"role": "user", "content": text}]
    return messages


def sentence(said: str) -> str:
    """Return what a person said as one paragraph.

    Raises:
        UserError: It is empty or too long.
    """
    text = " ".join(said.split())
    if not text or len(text) > MAX_SAID:
        raise UserError(
            f"the feedback is empty or longer than {MAX_SAID} characters; say in a few sentences "
            "what was wrong and what you want"
        )
    return text


def measured(item: Round) -> str:
    """Return what is known of a program in words; ``""`` where nothing is."""
    lines = []
    if item.success:
        lines.append(
            f"Policies trained with this reward succeeded in {100 * item.success['mean']:.0f} % of "
            "the evaluation episodes."
        )
    elif item.returns:
        lines.append(f"Policies trained with it reached a return of {item.returns['mean']:.4g}.")
    if item.terms:
        means = ", ".join(f"{name} {value:.3g}" for name, value in item.terms.items())
        lines.append(f"Mean of each term per step, over {item.measured_on}: {means}.")
    return "\n".join(lines)
