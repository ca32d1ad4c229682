"""A person as a source of preferences; ``embodied prefer`` asks on a web page.

The page is open at any time and in any order of the work, so it writes its answers to the label
store itself (``rewards.preferences.sitting``); whoever labels comparisons with this source reads
what was answered there. A later answer to a question replaces an earlier one, and a question is
closed for good by nobody: a person may think again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from embodied.errors import UserError
from rewards.label_records import Answer
from rewards.preferences.source import Comparison, Preference, Side

# ``undone``: the answer before it was taken back, and no other has been given yet.
Choice = Literal["first", "second", "tie", "skip", "undone"]
CHOICES: tuple[str, ...] = get_args(Choice)
_PREFERENCES: Mapping[str, Preference] = {
    "first": "first",
    "second": "second",
    "tie": "tie",
    "skip": "unsure",
}


@dataclass(frozen=True)
class PersonAnswer:
    """What a person answered, as the label store keeps it: the raw answer.

    Attributes:
        choice: In terms of the comparison, whichever side was on the left.
        shown_left: The side that was on the left.
        seconds: From when both clips played to the key, in s.
        attention: The pair was shown before, with its sides the other way round, to see whether
            the same side is chosen again; the answer is not a label.
    """

    choice: Choice
    shown_left: Literal["first", "second"]
    seconds: float
    attention: bool = False

    def raw(self) -> str:
        """Return it as the raw answer."""
        return json.dumps(asdict(self), sort_keys=True, allow_nan=False)


def read_answer(raw: str) -> PersonAnswer:
    """Return what is in a raw answer.

    Raises:
        ValueError: It is no person's answer; the reason.
    """
    try:
        value = json.loads(raw)
        answer = PersonAnswer(**value)
    except (ValueError, TypeError, RecursionError):
        raise ValueError("not an answer of the page") from None
    if answer.choice not in CHOICES or answer.shown_left not in CHOICES[:2]:
        raise ValueError(f"choice {answer.choice!r}, left {answer.shown_left!r}: unknown")
    if not (isinstance(answer.attention, bool) and isinstance(answer.seconds, int | float)):
        raise ValueError(f"attention {answer.attention!r}, seconds {answer.seconds!r}: unknown")
    return answer


class PersonSource:
    """Reads what a person answered on the page of ``embodied prefer``; it cannot be asked."""

    name = "person"
    parser = "person 1"
    batch = 1

    def request(self, comparison: Comparison) -> Mapping[str, Any]:
        """Return the question: the instruction, and each side's name and hash of its frames."""
        return {
            "source": self.name,
            "instruction": comparison.instruction,
            "first": _side(comparison.first),
            "second": _side(comparison.second),
        }

    def attention_request(self, comparison: Comparison, position: int) -> Mapping[str, Any]:
        """Return the question that asks again, at a position of a sitting.

        It is another question, so that its answer never stands in for the first one's.
        """
        return {**self.request(comparison), "attention": position}

    def answer(self, comparisons: Sequence[Comparison]) -> Sequence[Answer]:
        """Raise UserError: a person answers on the page, whenever they like."""
        raise UserError(
            f"{len(comparisons)} or more comparisons wait for a person's answer; "
            "run `embodied prefer DATA`, with the same seed to go on where it stopped"
        )

    def read(self, raw: str) -> Preference:
        """Return the preference in a raw answer; a skipped pair is ``unsure``.

        Raises:
            ValueError: There is none: an attention check, an answer that was taken back, or text
                of another source.
        """
        answer = read_answer(raw)
        if answer.attention:
            raise ValueError("an attention check, which is not a label")
        if answer.choice == "undone":
            raise ValueError("taken back")
        return _PREFERENCES[answer.choice]


def _side(side: Side) -> dict[str, str]:
    return {"name": side.name, "sha256": side.sha256}
