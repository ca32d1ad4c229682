"""The question that a language model is asked: the task's documented fields, and the dialect.

The text is a deterministic function of the task and the sentence, so that its hash names it. It
tells what the fields mean and nothing of how success is tested: a reward may not be handed the
answer.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from embodied.errors import UserError
from embodied.types import Field, Task
from rewards.dialect.functions import FUNCTIONS
from rewards.dialect.parser import RETURN, SIGNATURE
from rewards.images import hashed
from rewards.retrieval import Example

PROMPT_VERSION = 1
MAX_INSTRUCTION = 500  # characters

# {"role": "system" | "user" | "assistant", "content": a text, or parts as in rewards.images}
Message: TypeAlias = dict[str, Any]

SYSTEM = f"""\
You write reward functions for reinforcement learning of robots. You answer with one function in a \
small, checked subset of Python and NumPy, in one fenced block:

```python
{SIGNATURE}
    ...
    {RETURN}
```"""

ADVICE = """\
A useful reward is dense: it changes with every bit of progress, long before the task is done. It \
usually adds up a few terms:
- how close the robot's tool is to what it has to act on, saturating with distance, for example \
1 - np.tanh(k * distance);
- how close the thing acted on is to where the instruction wants it, or how much closer this \
step brought it (state is before the action, next_state after it);
- a bonus that grows, or is paid, in the last few centimetres, so that finishing is worth more \
than staying near;
- being still at the end, where the instruction asks for something to be placed or reached;
- small penalties for large or jerky actions, too small to make doing nothing attractive.
Stages that depend on each other are written with np.where. Keep the total of one step within \
about -10 to 10. Judge the outcome by next_state."""

RULES = """\
- Fields are read as state.<name> and next_state.<name>; action is an array itself.
- All arrays are batched: the first axis is the transitions and is never indexed, summed or \
reshaped. Parts of an array x of shape [N, 3] are x[:, 0], x[:, :2] and x[..., 2]; a value y of \
shape [N] becomes [N, 1] by y[:, None].
- Two batched values are combined only when their shapes match behind the first axis: reduce \
vectors with axis=-1 before combining them with values of shape [N].
- Statements: name = expression, name += expression, and the return in the last line. No imports, \
loops, if statements, comprehensions, lambdas, strings, annotations, helper functions or methods.
- Operators: + - * / ** (with a number as exponent), comparisons, & | ~ between comparisons in \
parentheses, and a if condition else b (chosen per transition, as np.where).
- Numbers are finite and at most a million in magnitude. np.pi and np.array([numbers]) are allowed.
- Functions, and no others: {functions}.
- Reductions take axis=-1 and may take keepdims=True.
- The return gives the total of shape [N] and a dictionary of 1 to 32 named terms of shape [N].
- The result must be finite for every input: guard divisions with np.maximum(x, 1e-6)."""


def build_messages(instruction: str, task: Task, examples: Sequence[Example] = ()) -> list[Message]:
    """Return the chat messages that ask for a reward.

    Args:
        instruction: The user's sentence.
        task: Its documented fields, action, rate and length are told; its success test is not.
        examples: Accepted rewards of other tasks to show; with none the text is that without them.

    Raises:
        UserError: The sentence is empty or too long.
    """
    sentence = " ".join(instruction.split())
    if not sentence or len(sentence) > MAX_INSTRUCTION:
        raise UserError(
            f"the instruction is empty or longer than {MAX_INSTRUCTION} characters; "
            'give one sentence, such as "push the cube onto the target"'
        )
    usages = ", ".join(function.usage for function in FUNCTIONS.values())
    seconds = task.max_steps / task.control_hz
    sections = (
        f"Task: {task.name}\nInstruction: {sentence}",
        f"The robot is controlled at {task.control_hz:g} Hz; an episode lasts {task.max_steps} "
        f"control steps ({seconds:g} s). The reward is computed for every control step from the "
        "state before it, the action, and the state after it.",
        "What state and next_state hold, with N transitions at once:\n\n"
        + class_listing(task.fields),
        "The action:\n\n" + _described("action", task.action),
        ADVICE,
        "Rules of the language:\n" + RULES.format(functions=usages),
        *([_shown(examples)] if examples else []),
        "Think about what the instruction asks for, then reply with one fenced python block.",
    )
    return [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": "\n\n".join(sections)},
    ]


def code_message(source: str) -> Message:
    """Return a program as the model's own answer."""
    return {"role": "assistant", "content": f"```python\n{source.rstrip()}\n```"}


def _shown(examples: Sequence[Example]) -> str:
    parts = ["Rewards that were accepted for other tasks, whose fields are other ones than yours:"]
    parts += [f"{item.instruction}\n{code_message(item.source)['content']}" for item in examples]
    return "\n\n".join(parts)


def class_listing(fields: Mapping[str, Field]) -> str:
    """Return the fields as a typed class, one line of code and one of meaning each."""
    lines = ["class State:"]
    for name, field in fields.items():
        lines += ["    " + line for line in _described(name, field).split("\n")]
    return "\n".join(lines)


def _described(name: str, field: Field) -> str:
    shape = ", ".join(["N", *(str(size) for size in field.shape)])
    unit = "no unit" if field.unit == "1" else f"unit {field.unit}"
    facts = [unit] + ([f"frame {field.frame}"] if field.frame else [])
    if field.low is not None and field.high is not None:
        facts.append(f"from {_numbers(field.low)} to {_numbers(field.high)}")
    return f"{name}: Array[{shape}]  # {', '.join(facts)}\n# {' '.join(field.meaning.split())}"


def _numbers(values: Iterable[float]) -> str:
    texts = [f"{value:g}" for value in values]
    return texts[0] if len(set(texts)) == 1 else f"[{', '.join(texts)}]"


def subject(messages: Sequence[Message]) -> tuple[str, str]:
    """Return the task and the instruction that ``build_messages`` put into messages."""
    for message in messages:
        found = re.match(r"Task: (.*)\nInstruction: (.*)\n", message["content"])
        if found and message["role"] == "user":
            return found[1], found[2]
    return "", ""


def feedback(reply: str, failure: str) -> list[Message]:
    """Return the messages that tell a model why its reply was refused."""
    text = (
        f"This reward cannot be used: {failure}. Mend this and reply with the whole function, "
        "again in one fenced python block."
    )
    return [{"role": "assistant", "content": reply}, {"role": "user", "content": text}]


def prompt_hash(messages: Sequence[Message]) -> str:
    """Return the SHA-256 of messages as canonical JSON (sorted keys, no spaces, UTF-8).

    An image counts by the hash of its bytes (``rewards.images``), not by where it lies.
    """
    canonical = json.dumps(
        hashed(messages), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()
