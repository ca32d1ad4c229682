"""The two questions of a comparison, and what is read in the second reply.

As in RL-VLM-F (Wang et al., 2024), in words of our own: a model tells what two images
show and how they differ, and then, given its own reply alone, one number. That the second stage
sees no image makes it cheap, and lets a local model answer a batch of them at a time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from rewards.preferences.sheets import image_part
from rewards.preferences.source import Images, Preference
from rewards.prompt import Message

PROMPT = "two stages 1"  # another number for any other wording, also of SHEET
LOOK = """\
A robot was told: {instruction}
You see two images, the first and the second.{sheet}"""
SHEET = """ An image with several frames side by side is a film: its frames are in the order of \
time, row by row from the top left, and what counts is how the film goes and ends."""
QUESTIONS = """\
Answer each question in a sentence or two, by what can be seen and matters for what the robot was
told.
1. What does the first image show?
2. What does the second image show?
3. Which differences between them matter for what the robot was told?"""
DECIDE = """\
A robot was told: {instruction}
Somebody looked at two images of it and wrote these notes:

{notes}

Which image shows better what the robot was told to do? Answer with one line that is one of these \
numbers and nothing else:
0 if it is the first image,
1 if it is the second image,
-1 if there is no difference or the notes do not tell."""

CUT_OFF = frozenset({"length", "max_tokens"})  # why a reply ended that is not whole
MOST_LINE = 80  # characters of a line that can be an answer
_WRAP = "[\\s\"'`*_\u201c\u201d\u2018\u2019()\\[\\]]*"  # spaces, quotes, emphasis, brackets
MINUS = "\u2212"  # the sign that is no hyphen
# No dash is skipped: "- 1" may be an item of a list, and is no answer.
_DECISION = re.compile(
    rf"{_WRAP}(?:(?:final\s+)?answer{_WRAP}[:=]{_WRAP})?([-{MINUS}]1|0|1){_WRAP}[.,;!]?{_WRAP}",
    re.IGNORECASE,
)
_PREFERENCES: Mapping[str, Preference] = {"0": "first", "1": "second", "-1": "unsure"}


def look(instruction: str, images: Sequence[Images], film: bool) -> list[Message]:
    """Return the messages of the first stage.

    Args:
        instruction: The user's sentence.
        images: The first and the second, uint8 [H, W, 3] each.
        film: Whether one of them is a sheet of several frames.
    """
    parts = [
        _text(LOOK.format(instruction=instruction, sheet=SHEET if film else "")),
        *(_text("The first image:"), image_part(images[0])),
        *(_text("The second image:"), image_part(images[1])),
        _text(QUESTIONS),
    ]
    return [{"role": "user", "content": parts}]


def decide(instruction: str, notes: str) -> list[Message]:
    """Return the messages of the second stage, given the reply of the first."""
    return [{"role": "user", "content": DECIDE.format(instruction=instruction, notes=notes)}]


def decision(text: str, stop: str = "") -> Preference:
    """Return what a reply of the second stage decides: its last line that is 0, 1 or -1.

    Quotes, emphasis, a full stop and "Answer:" may stand around the number, nothing else.

    Args:
        text: The reply.
        stop: Why it ended, as in ``Reply``.

    Raises:
        ValueError: There is no such line, or the reply was cut off; the reason.
    """
    if stop in CUT_OFF:
        raise ValueError(f"the reply was cut off ({stop})")
    for line in reversed(text.splitlines()):
        if len(line) <= MOST_LINE and (found := _DECISION.fullmatch(line)):
            return _PREFERENCES[found[1].replace(MINUS, "-")]
    raise ValueError(f"no line is 0, 1 or -1: {text[-MOST_LINE:]!a}")


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}
