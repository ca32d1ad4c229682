"""The one exception that a user's mistake ends in."""

from __future__ import annotations

from collections.abc import Mapping


class UserError(Exception):
    """A mistake of the user or of a file, told in one line: what is wrong and what to do.

    The command line prints it without a traceback and exits with 2. Raise it at the edge where the
    mistake is seen; let every other exception travel, since it is a bug of ours.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


def at_least(least: int, values: Mapping[str, int | None]) -> None:
    """Raise UserError for the first named value below ``least``; None is left out."""
    for name, value in values.items():
        if value is not None and value < least:
            raise UserError(f"{name} is {value}; it must be at least {least}")
