"""Images in messages: read once, named by their hash, and kept without their bytes."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embodied.errors import UserError
from embodied.files import sha256_bytes
from rewards.images import Image, described, hashed, image_part, read_content
from rewards.prompt import prompt_hash

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40
TEXT = {"type": "text", "text": "What is this?"}


def inline(content=PNG, **changes):
    data = base64.b64encode(content).decode()
    return {"type": "image", "media_type": "image/png", "data": data, **changes}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "frame.png"
    path.write_bytes(PNG)
    return path


def question(*parts):
    return [{"role": "user", "content": list(parts)}]


def test_both_forms_are_the_same_image(file):
    shown = read_content([TEXT, image_part(file), inline()])
    assert shown == ["What is this?", Image("image/png", PNG, str(file)), Image("image/png", PNG)]
    assert read_content("a text") == ["a text"]


def test_the_hash_is_that_of_the_bytes_wherever_they_lie(file, tmp_path):
    other = tmp_path / "copy.png"
    other.write_bytes(PNG)
    parts = [image_part(file), image_part(other), inline()]
    assert len({prompt_hash(question(TEXT, part)) for part in parts}) == 1
    changed = prompt_hash(question(TEXT, inline(PNG + b"x")))
    assert changed != prompt_hash(question(TEXT, inline()))
    assert prompt_hash(question(inline(), TEXT)) != prompt_hash(question(TEXT, inline()))


def test_files_keep_hash_and_path_and_no_bytes(file):
    messages = [{"role": "system", "content": "x"}, *question(TEXT, image_part(file), inline())]
    kept = described(messages)
    picture = {"type": "image", "media_type": "image/png", "sha256": sha256_bytes(PNG)}
    assert kept[0] == messages[0]
    assert kept[1]["content"] == [TEXT, {**picture, "path": str(file)}, picture]
    assert len(json.dumps(kept)) < 1000
    # What is kept stands for the same question, also when the file is gone, and is kept as it is.
    named = prompt_hash(messages)
    file.unlink()
    assert prompt_hash(kept) == named
    assert described(kept) == kept
    assert hashed(kept)[1]["content"] == [TEXT, picture, picture]


def test_kept_messages_can_be_asked_again_while_the_file_is_the_same(file):
    (kept,) = described(question(image_part(file)))
    assert read_content(kept["content"]) == [Image("image/png", PNG, str(file))]
    file.write_bytes(PNG + b"changed")
    with pytest.raises(UserError, match="it was changed"):
        read_content(kept["content"])


def test_the_hash_of_texts_is_what_it_always_was():
    messages = [{"role": "user", "content": "größer"}]
    canonical = '[{"content":"größer","role":"user"}]'
    assert prompt_hash(messages) == sha256_bytes(canonical.encode())


BAD = [
    (3, "neither a text nor a list"),
    (None, "neither a text nor a list"),
    (["text"], "neither a text nor an image"),
    ([{"type": "audio"}], "neither a text nor an image"),
    ([{"type": "text", "text": 3}], "neither a text nor an image"),
    ([inline(url="http://host/x.png")], "neither a text nor an image"),
    ([inline(media_type="image/tiff")], "media type other than"),
    ([inline(media_type=None)], "media type other than"),
    ([inline(media_type="image/jpeg")], "is not image/jpeg"),
    ([inline(data="not base64!")], "not base64"),
    ([inline(data="ü")], "not base64"),
    ([inline(data=None)], "neither path nor data"),
    ([inline(sha256="0" * 64)], "it was changed"),
    ([inline(PNG[:8] + bytes(20_000_000))], "larger than"),
]


@pytest.mark.parametrize(("content", "part"), BAD)
def test_a_malformed_content_is_told(content, part):
    with pytest.raises(UserError, match=part) as caught:
        read_content(content)
    assert len(str(caught.value)) < 300


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(UserError, match=r"cannot read the image .*absent\.png \(No such file"):
        read_content([image_part(tmp_path / "absent.png")])
    with pytest.raises(UserError, match="cannot read the image"):
        read_content([image_part(tmp_path)])


values = st.none() | st.integers() | st.text() | st.sampled_from(["image", "text", "image/png"])
parts = st.dictionaries(
    st.sampled_from(["type", "text", "media_type", "path", "data", "sha256"]), values
)


@given(values | st.lists(parts | values))
def test_any_content_is_read_or_refused(content):
    try:
        read = read_content(content)
    except UserError:
        return
    assert all(isinstance(part, str | Image) for part in read)


@given(st.binary(max_size=200))
def test_base64_goes_there_and_back(content):
    (image,) = read_content([inline(PNG + content)])
    assert base64.b64decode(image.base64) == image.content == PNG + content
