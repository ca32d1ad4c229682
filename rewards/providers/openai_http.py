"""Chat completions of any OpenAI-compatible server.

vLLM, Ollama, llama.cpp, ``transformers serve`` and many hosted services speak this format.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from embodied.errors import UserError
from rewards.images import Image
from rewards.providers.base import Reply
from rewards.providers.http_chat import HttpChatProvider, HttpConfig, Wire
from rewards.providers.reply_json import counts, item, json_object, text_or
from rewards.providers.settings import config_of
from rewards.providers.turns import Turn, blocks

USAGE = {"prompt_tokens": ("prompt_tokens",), "completion_tokens": ("completion_tokens",)}


@dataclass(frozen=True)
class OpenAIConfig(HttpConfig):
    """The settings of an OpenAI-compatible server."""

    token_limit_name: str = "max_tokens"  # newer hosted models want max_completion_tokens


class OpenAIProvider(HttpChatProvider):
    """Asks an OpenAI-compatible server."""

    def __init__(
        self,
        config: OpenAIConfig | Mapping[str, Any],
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(
            WIRE, config_of(OpenAIConfig, config, WIRE.name, ("base_url", "model")), sleep
        )


def headers(key: str | None) -> dict[str, str]:
    """Return the header that carries a key."""
    return {} if key is None else {"Authorization": f"Bearer {key}"}


def request(
    turns: Sequence[Turn], config: OpenAIConfig, image: Callable[[Image], Any]
) -> dict[str, Any]:
    """Return the JSON that asks for a chat completion."""
    contents = [t.content if isinstance(t.content, str) else blocks(t, image) for t in turns]
    asked: dict[str, Any] = {
        "model": config.model,
        "messages": [
            {"role": turn.role, "content": content}
            for turn, content in zip(turns, contents, strict=True)
        ],
        config.token_limit_name: config.max_tokens,
    }
    if config.temperature is not None:
        asked["temperature"] = config.temperature
    return asked


def image_url(image: Image) -> dict[str, Any]:
    """Return an image as a data URL."""
    url = f"data:{image.media_type};base64,{image.base64}"
    return {"type": "image_url", "image_url": {"url": url}}


def parse_reply(text: str, model: str) -> Reply:
    """Parse the body of a chat completion.

    Raises:
        UserError: It is not JSON, or not a chat completion.
    """
    body = json_object(text)
    content = item(body, "choices", 0, "message", "content")
    stop = text_or(item(body, "choices", 0, "finish_reason"), "")
    if not isinstance(content, str) or not content.strip():
        raise UserError(
            "the server's answer holds no choices[0].message.content"
            f"{f' (finish_reason {stop})' if stop else ''}; check that the server is "
            "OpenAI-compatible and that provider.max_tokens leaves room for an answer"
        )
    usage = counts(body.get("usage"), USAGE)
    return Reply(content, text_or(body.get("model"), model), usage, text, stop=stop)


WIRE = Wire("openai", "/chat/completions", headers, request, image_url, parse_reply)
