"""The messages API of Anthropic, and of servers that speak its format."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from embodied.errors import UserError
from rewards.images import Image
from rewards.providers.base import Reply
from rewards.providers.http_chat import HttpChatProvider, HttpConfig, Wire
from rewards.providers.reply_json import counts, item, json_object, text_or
from rewards.providers.settings import config_of
from rewards.providers.turns import Turn, blocks

VERSION = "2023-06-01"  # of the format, sent with every request
# Prompt tokens that were written to the server's cache or read from it are told apart.
USAGE = {
    "prompt_tokens": ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"),
    "completion_tokens": ("output_tokens",),
}


class AnthropicProvider(HttpChatProvider):
    """Asks Anthropic's messages API."""

    def __init__(
        self,
        config: HttpConfig | Mapping[str, Any],
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(
            WIRE, config_of(HttpConfig, config, WIRE.name, ("base_url", "model")), sleep
        )


def headers(key: str | None) -> dict[str, str]:
    """Return the version of the format, and the header that carries a key."""
    version = {"anthropic-version": VERSION}
    return version if key is None else {"x-api-key": key, **version}


def request(
    turns: Sequence[Turn], config: HttpConfig, image: Callable[[Image], Any]
) -> dict[str, Any]:
    """Return the JSON that asks for a message; the system's text stands apart.

    Raises:
        UserError: The system's message shows an image.
    """
    system = [turn for turn in turns if turn.role == "system"]
    if any(isinstance(part, Image) for turn in system for part in turn.parts):
        raise UserError("a system message shows an image; show it in a user's message")
    asked: dict[str, Any] = {
        "model": config.model,
        "max_tokens": config.max_tokens,
        "messages": [
            {"role": turn.role, "content": blocks(turn, image)}
            for turn in turns
            if turn.role != "system"
        ],
    }
    if system:
        asked["system"] = "\n\n".join(turn.text for turn in system)
    if config.temperature is not None:
        asked["temperature"] = config.temperature
    return asked


def image_source(image: Image) -> dict[str, Any]:
    """Return an image as a block with its bytes in base64."""
    source = {"type": "base64", "media_type": image.media_type, "data": image.base64}
    return {"type": "image", "source": source}


def parse_reply(text: str, model: str) -> Reply:
    """Parse the body of a message: its text blocks, one after the other.

    Raises:
        UserError: It is not JSON, not a message, or a message without text.
    """
    body = json_object(text)
    content = body.get("content")
    texts = [
        item(block, "text")
        for block in (content if isinstance(content, list) else [])
        if item(block, "type") == "text"
    ]
    written = "".join(part for part in texts if isinstance(part, str))
    stop = text_or(body.get("stop_reason"), "")
    if not written.strip():
        raise UserError(
            f"the server's answer holds no text block{f' (stop_reason {stop})' if stop else ''}; "
            "check that the server speaks Anthropic's messages format and that "
            "provider.max_tokens leaves room for an answer"
        )
    usage = counts(body.get("usage"), USAGE)
    return Reply(written, text_or(body.get("model"), model), usage, text, stop=stop)


WIRE = Wire("anthropic", "/messages", headers, request, image_source, parse_reply)
