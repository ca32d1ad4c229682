"""What the command line shares with no command: its parser's errors, and what is an override."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """Tells a wrong argument in one line, as every other mistake is told."""

    def error(self, message: str) -> NoReturn:
        """Print the line and exit with 2."""
        line = " ".join(message.split())
        self.exit(2, f"{self.prog}: {line}; see `{self.prog} --help`\n")


def split_overrides(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate ``key=value`` overrides from ordinary arguments.

    The first argument of ``reward`` and the second of ``improve`` are sentences and may hold
    anything.
    """
    sentence_at = {"reward": 0, "improve": 1}.get(next(iter(arguments), ""))
    plain, overrides = list(arguments[:1]), []
    for position, item in enumerate(arguments[1:]):
        key = item.partition("=")[0].lstrip("+~")
        sentence = position == sentence_at and " " in item.split("=")[0]
        is_key = "=" in item and key.replace(".", "").replace("_", "").replace("/", "").isalnum()
        if is_key and not sentence and not item.startswith(("-", "/", ".")):
            overrides.append(item)
        else:
            plain.append(item)
    return plain, overrides
