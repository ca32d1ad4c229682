"""How an attack is written down: what is tried, and what has to come of it."""

from dataclasses import dataclass, field

from embodied.types import Field
from rewards.dialect import Program, parse

FIELDS = {"position": Field((3,), "m", "A position."), "force": Field((), "N", "A force.")}
ACTION = Field((4,), "rad", "An action.")
HEAD = "def reward(state, action, next_state):\n"
BODY = '    return state.force, {"force": state.force}\n'
HARMLESS = HEAD + BODY

# What a refusal says, as regular expressions.
ATTRIBUTE = "the attribute .* is not available"
CALL = "is not listed"
FORM = "not part of the dialect"
NAME = "is not allowed"
SYNTAX = "Python syntax error"
TEXT = "a (str|bytes) is not a number"
UNKNOWN = "is unknown"


@dataclass(frozen=True)
class Idea:
    """One idea of the attack list, with its variants by the refusal that each must meet.

    Attributes:
        title: What is tried.
        expressions: Refusal to the right-hand sides of ``x = ...`` that must meet it.
        statements: The same for lines before the return.
        sources: The same for whole sources.
        contained: Accepted sources that must give what the source beside them gives.
        translated: Why the idea cannot be tried as it stands, and what is tried in its place.
    """

    title: str
    expressions: dict[str, list[str]] = field(default_factory=dict)
    statements: dict[str, list[str]] = field(default_factory=dict)
    sources: dict[str, list[str]] = field(default_factory=dict)
    contained: list[tuple[str, str]] = field(default_factory=list)
    translated: str = ""

    def refused(self) -> list[tuple[str, str]]:
        """Return every source that must be refused, with the refusal."""
        return [
            *((expression(text), why) for why, texts in self.expressions.items() for text in texts),
            *((statement(text), why) for why, texts in self.statements.items() for text in texts),
            *((text, why) for why, texts in self.sources.items() for text in texts),
        ]


def expression(text: str) -> str:
    return f"{HEAD}    x = {text}\n{BODY}"


def statement(text: str) -> str:
    return f"{HEAD}    {text}\n{BODY}"


def returning(value: str, *lines: str) -> str:
    before = "".join(f"    {line}\n" for line in lines)
    return f'{HEAD}{before}    return {value}, {{"force": state.force}}\n'


def read(source: str) -> Program:
    return parse(source, FIELDS, ACTION)
