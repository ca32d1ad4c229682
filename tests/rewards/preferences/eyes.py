"""A model that sees, for tests: it prefers the brighter image."""

import base64
import io
import re
from dataclasses import dataclass

import numpy as np

from embodied.errors import UserError
from rewards.preferences.source import Comparison, Side
from rewards.providers.base import Budget, Reply

USAGE = {"prompt_tokens": 100, "completion_tokens": 10}


@dataclass(frozen=True)
class Config:
    """As HTTP providers have it; none of the last three changes an answer."""

    base_url: str = "http://127.0.0.1:1/v1"
    model: str = "eyes"
    temperature: float | None = None
    max_tokens: int = 50
    key_env: str | None = None
    concurrency: int = 4
    max_calls: int = 20


class Eyes:
    """Sees which image is brighter: notes both means, and then decides by the notes."""

    name = "eyes"

    def __init__(self, change=lambda text, stage: text, config=None, caps=None):
        self.change, self.config = change, config or Config()
        self.budget = Budget(caps)
        self.asked = []

    def complete(self, messages, log=None, sample=0):
        (reply,) = self.complete_many([messages], log, [sample])
        return reply

    def complete_many(self, questions, log=None, samples=None):
        return [self._one(question) for question in questions]

    def _one(self, messages):
        self.asked.append(messages)
        (message,) = messages
        if isinstance(message["content"], list):
            seen = [p for p in message["content"] if p["type"] == "image"]
            text = " ".join(f"<{pixels(part).mean():.3f}>" for part in seen)
        else:
            first, second = map(float, re.findall(r"<([\d.]+)>", message["content"]))
            text = "-1" if first == second else "0" if first > second else "1"
        text = self.change(text, "look" if isinstance(message["content"], list) else "decide")
        return text if isinstance(text, UserError) else Reply(text, "eyes-2", USAGE, f"<{text}>")


def pixels(part):
    from PIL import Image

    with Image.open(io.BytesIO(base64.b64decode(part["data"]))) as image:
        assert image.format == "PNG"
        return np.asarray(image)


def side(*levels, name="a"):
    frames = [np.full((4, 6, 3), level, np.uint8) for level in levels]
    return Side(name, np.stack(frames) if frames else np.zeros((0, 4, 6, 3), np.uint8))


def comparison(first, second, instruction="be bright"):
    return Comparison(instruction, side(*first), side(*second, name="b"))
