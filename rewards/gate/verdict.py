"""What a measure says of a reward: the number, the bound it is held to, and one sentence."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

Outcome: TypeAlias = Literal["pass", "warn", "fail", "undecided"]


@dataclass(frozen=True)
class Verdict:
    """The verdict of one measure.

    Attributes:
        verdict: ``fail`` refuses the reward, ``warn`` tells, ``undecided`` says that the data
            cannot tell; what is undecided never counts as passed.
        value: What was measured, None where it could not be.
        bound: What the value is held to, None where there is no single number.
        sentence: For a person or a language model: what was found and, unless it passed, what to
            do.
        details: Further JSON values.
    """

    verdict: Outcome
    value: float | None
    bound: float | None
    sentence: str
    details: dict[str, Any] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "verdict": self.verdict,
            "value": self.value,
            "bound": self.bound,
            "sentence": self.sentence,
            **({"details": self.details} if self.details else {}),
        }


def undecided(sentence: str, bound: float | None = None) -> Verdict:
    """Return the verdict of a measure that the data cannot decide."""
    return Verdict("undecided", None, bound, sentence)


def softened(verdict: Verdict) -> Verdict:
    """Return a verdict that warns at most."""
    return replace(verdict, verdict="warn") if verdict.verdict == "fail" else verdict
