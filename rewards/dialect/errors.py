"""How the dialect says no."""

from embodied.errors import UserError

MAX_REASON = 300  # characters: a message goes to the terminal and back to the model


class Refusal(Exception):
    """A rule of the dialect is broken; the parser adds the line and raises ``DialectError``."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


class DialectError(UserError):
    """Reward code is outside the dialect: the line, the reason and what to write instead.

    Attributes:
        line: Line of the source, from 1; 0 when the whole source is meant.
        reason: What is wrong.
        hint: What to write instead.
    """

    def __init__(self, line: int, reason: str, hint: str) -> None:
        reason = reason[:MAX_REASON]
        where = f"line {line}: " if line else ""
        super().__init__(f"reward code refused, {where}{reason}; {hint}")
        self.line = line
        self.reason = reason
        self.hint = hint
