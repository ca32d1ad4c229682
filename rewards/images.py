"""Images in chat messages: one form inside, and the form without bytes that files keep.

The content of a message is a text, or a list of parts, each one of

    {"type": "text", "text": "What do you see?"}
    {"type": "image", "media_type": "image/png", "path": "frame.png"}
    {"type": "image", "media_type": "image/png", "data": "<base64>"}

An image may also hold ``sha256``, the hash of its bytes, which then has to fit them. A logged image
holds the hash and the path alone: it names the image and has the same prompt hash.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embodied.errors import UserError
from embodied.files import sha256_bytes

MAX_BYTES = 20_000_000  # of one image
KEYS = frozenset({"type", "media_type", "path", "data", "sha256"})
# What the hosted models take, and how such a file begins.
SIGNATURES = {
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/gif": (b"GIF87a", b"GIF89a"),
    "image/webp": (b"RIFF",),
}


@dataclass(frozen=True)
class Image:
    """The bytes of an encoded image, and what files keep of it."""

    media_type: str
    content: bytes
    path: str | None = None  # where it lies; None when it came as base64

    @property
    def base64(self) -> str:
        """The bytes as base64 text."""
        return base64.b64encode(self.content).decode("ascii")

    def description(self) -> dict[str, Any]:
        """Return the part that stands for it in files: hash and path, no bytes."""
        found = {
            "type": "image",
            "media_type": self.media_type,
            "sha256": sha256_bytes(self.content),
        }
        return found if self.path is None else {**found, "path": self.path}


def image_part(path: Path, media_type: str = "image/png") -> dict[str, Any]:
    """Return the part of a message that shows an image file."""
    return {"type": "image", "media_type": media_type, "path": str(path)}


def read_content(content: Any) -> list[str | Image]:
    """Return the texts and images of a message's content, the image files read.

    Raises:
        UserError: Malformed, or an image that is missing, too large, or not what it is said to be.
    """
    if isinstance(content, str):
        return [content]
    if not isinstance(content, list):
        raise UserError("the content of a message is neither a text nor a list of parts")
    return [_read_part(part) for part in content]


def described(messages: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return messages with every image replaced by its hash and path, as files keep them.

    Raises:
        UserError: As ``read_content``.
    """
    return [_with_parts(message, _described_part) for message in messages]


def hashed(messages: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return messages with every image replaced by its hash, wherever it lies.

    Raises:
        UserError: As ``read_content``.
    """
    return [_with_parts(message, _hashed_part) for message in messages]


def _with_parts(message: Any, replace: Callable[[Any], dict[str, Any]]) -> Any:
    """Return a message with its parts replaced; one without parts as it is."""
    if not isinstance(message, Mapping) or not isinstance(message.get("content"), list):
        return message
    return {**message, "content": [replace(part) for part in message["content"]]}


def _described_part(part: Any) -> dict[str, Any]:
    if _is_described(part):
        return dict(part)
    read = _read_part(part)
    return {"type": "text", "text": read} if isinstance(read, str) else read.description()


def _hashed_part(part: Any) -> dict[str, Any]:
    return {key: value for key, value in _described_part(part).items() if key != "path"}


def _is_described(part: Any) -> bool:
    """Whether a part names an image by its hash; its bytes are checked when they are sent."""
    return (
        isinstance(part, Mapping)
        and part.get("type") == "image"
        and isinstance(part.get("sha256"), str)
        and part.get("media_type") in SIGNATURES
        and set(part) <= KEYS - {"data"}
    )


def _read_part(part: Any) -> str | Image:
    if isinstance(part, Mapping):
        if part.get("type") == "text" and isinstance(part.get("text"), str) and len(part) == 2:
            return str(part["text"])
        if part.get("type") == "image" and set(part) <= KEYS:
            return _read_image(part)
    raise UserError(
        "a part of a message is neither a text nor an image; give {type: text, text: ...} or "
        "{type: image, media_type: image/png, path: ... or data: base64}"
    )


def _read_image(part: Mapping[str, Any]) -> Image:
    media_type, path, data = part.get("media_type"), part.get("path"), part.get("data")
    if media_type not in SIGNATURES:
        raise UserError(f"an image has a media type other than {', '.join(SIGNATURES)}")
    if isinstance(data, str):
        name, content = "an image", _decoded(data)
    elif isinstance(path, str):
        name, content = path, _read_file(Path(path))
    else:
        raise UserError("an image has neither path nor data; give one of them")
    if len(content) > MAX_BYTES:
        raise UserError(f"{name} is larger than {MAX_BYTES} bytes; make it smaller")
    if not content.startswith(SIGNATURES[media_type]):
        raise UserError(f"{name} is not {media_type}; mend its media type or make it again")
    if part.get("sha256") not in (None, sha256_bytes(content)):
        raise UserError(f"{name} is not the image of its hash: it was changed; ask anew")
    return Image(str(media_type), content, path if isinstance(path, str) else None)


def _decoded(data: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise UserError("the data of an image is not base64") from None


def _read_file(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"cannot read the image {path} ({error.strerror}); check it") from None
