"""Images on the wire: encoded in each format, and hashed in keys and logs."""

import base64

import pytest

from embodied.errors import UserError
from embodied.files import sha256_bytes
from rewards.images import image_part
from rewards.providers.base import BudgetError, read_lines

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 200
DATA = base64.b64encode(PNG).decode()
BLOCKS = {
    "openai": {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{DATA}"}},
    "anthropic": {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": DATA},
    },
}
TEXT = {"type": "text", "text": "What is this?"}


@pytest.fixture
def frame(tmp_path):
    path = tmp_path / "frame.png"
    path.write_bytes(PNG)
    return path


def question(*parts):
    return [{"role": "system", "content": "Look."}, {"role": "user", "content": list(parts)}]


def test_an_image_is_sent_in_its_place(server, make, answer, wire, frame):
    server.script = [answer()]
    make().complete(question(TEXT, image_part(frame), TEXT))
    body = server.requests[0][2]
    assert body["messages"][-1] == {"role": "user", "content": [TEXT, BLOCKS[wire.name], TEXT]}


def test_the_log_keeps_hash_and_path(server, make, answer, frame, tmp_path):
    log = tmp_path / "log.jsonl"
    server.script = [answer()]
    make().complete(question(TEXT, image_part(frame)), log)
    (record,) = read_lines(log)
    kept = {"type": "image", "media_type": "image/png", "sha256": sha256_bytes(PNG)}
    assert record["images"] == [{**kept, "path": str(frame)}]
    assert len(log.read_bytes()) < 2000


def test_the_same_image_elsewhere_is_not_asked_again(server, make, answer, frame, tmp_path):
    log = tmp_path / "log.jsonl"
    server.script = [answer()]
    first = make().complete(question(TEXT, image_part(frame)), log)
    other = tmp_path / "other.png"
    other.write_bytes(PNG)
    inline = {"type": "image", "media_type": "image/png", "data": DATA}
    for part in (image_part(other), inline):
        assert make().complete(question(TEXT, part), log) == first
    assert len(server.requests) == 1
    other.write_bytes(PNG + b"another")
    server.script = [answer()]
    make().complete(question(TEXT, image_part(other)), log)
    assert len(server.requests) == 2


def test_an_image_is_charged_by_its_own_bound_and_not_by_its_bytes(server, make, answer, frame):
    server.script = [answer()]
    settings = {"max_tokens": 100, "max_total_tokens": 5000}
    assert len(DATA) > 5000
    assert make(image_tokens=4000, **settings).complete(question(image_part(frame))).text
    with pytest.raises(BudgetError, match="could take"):
        make(image_tokens=5000, **settings).complete(question(image_part(frame)))


def test_a_missing_image_is_told_before_anything_is_sent(server, make, tmp_path):
    with pytest.raises(UserError, match="cannot read the image"):
        make().complete(question(image_part(tmp_path / "absent.png")))
    assert server.requests == []


def test_a_system_message_shows_no_image_to_anthropic(server, frame, anthropic):
    provider = anthropic.provider({"base_url": server.url, "model": "m"})
    with pytest.raises(UserError, match="system message shows an image"):
        provider.complete([{"role": "system", "content": [image_part(frame)]}])


@pytest.mark.parametrize("role", [None, "tool", 3])
def test_an_unknown_role_is_told(make, role):
    with pytest.raises(UserError, match=r"give one of system, user, assistant"):
        make().complete([{"role": role, "content": "x"}])
