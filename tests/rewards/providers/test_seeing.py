"""A local model that sees: one layer each with random weights, made by the test."""

import base64
import io

import pytest

from embodied.errors import UserError
from rewards.providers.base import Reply, read_lines
from rewards.providers.transformers_chat import TransformersProvider

QUESTION = [{"role": "user", "content": "Hello there"}]


def picture(size, colour):
    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, "png")
    data = base64.b64encode(stream.getvalue()).decode()
    return {"media_type": "image/png", "data": data}


def shown(colour):
    parts = [{"type": "image", **picture((40, 30), colour)}, {"type": "text", "text": "Colour?"}]
    return [{"role": "user", "content": parts}]


def test_a_model_that_sees_answers_by_the_image(tiny_seeing_model, tmp_path):
    provider = TransformersProvider({"path": str(tiny_seeing_model), "max_tokens": 8})
    log = tmp_path / "log.jsonl"
    red, blue, text = provider.complete_many([shown("red"), shown("blue"), QUESTION], log)
    assert all(isinstance(reply, Reply) for reply in (red, blue, text))
    assert red.text != blue.text
    # 16 patches stand for the image.
    assert red.usage["prompt_tokens"] > 16
    again = TransformersProvider({"path": str(tiny_seeing_model), "max_tokens": 8})
    assert again.complete(shown("red"), log) == red
    assert again.budget.calls == 0
    kept = read_lines(log)
    assert len(kept[0]["images"][0]["sha256"]) == 64
    assert shown("red")[0]["content"][0]["data"] not in log.read_text()


def test_an_image_that_cannot_be_decoded_is_told(tiny_seeing_model):
    part = {"type": "image", "media_type": "image/png"}
    part["data"] = base64.b64encode(b"\x89PNG\r\n\x1a\nrubbish").decode()
    provider = TransformersProvider({"path": str(tiny_seeing_model), "max_tokens": 8})
    with pytest.raises(UserError, match="cannot decode an image"):
        provider.complete([{"role": "user", "content": [part]}])


def test_images_are_refused_by_a_model_that_sees_none(make_local):
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image", **picture((16, 16), "red")},
    ]
    with pytest.raises(UserError, match="this model sees no images"):
        make_local().complete([{"role": "user", "content": parts}])
    text = [{"role": "user", "content": [parts[0]]}]
    plain = [{"role": "user", "content": "What is this?"}]
    assert make_local().complete(text).text == make_local().complete(plain).text
