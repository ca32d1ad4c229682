"""Chat messages whose images are read, as the providers send them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from embodied.errors import UserError
from rewards.images import Image, read_content
from rewards.prompt import Message

ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class Turn:
    """One message: a text, or its texts and images in their order."""

    role: str
    content: str | list[str | Image]

    @property
    def parts(self) -> list[str | Image]:
        """The texts and images."""
        return [self.content] if isinstance(self.content, str) else self.content

    @property
    def text(self) -> str:
        """The texts alone."""
        return "\n\n".join(part for part in self.parts if isinstance(part, str))


def read_turns(messages: Sequence[Message]) -> list[Turn]:
    """Return messages with their images read.

    Raises:
        UserError: A message is malformed, or an image cannot be used.
    """
    turns = []
    for message in messages:
        role, content = message.get("role"), message.get("content")
        if role not in ROLES:
            raise UserError(f"a message has the role {role!r}; give one of {', '.join(ROLES)}")
        turns.append(Turn(role, content if isinstance(content, str) else read_content(content)))
    return turns


def images(turns: Sequence[Turn]) -> list[Image]:
    """Return the images of a question, in their order."""
    return [part for turn in turns for part in turn.parts if isinstance(part, Image)]


def blocks(turn: Turn, image: Callable[[Image], Any]) -> list[Any]:
    """Return a message's parts as JSON, with its images as ``image`` gives them."""
    return [
        {"type": "text", "text": part} if isinstance(part, str) else image(part)
        for part in turn.parts
    ]
