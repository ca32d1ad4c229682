"""Files that appear whole or not at all, and JSON that is checked when it is read."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from embodied.errors import UserError

FULL = (errno.ENOSPC, errno.EDQUOT)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary name; on success it is synced and renamed to ``path``, else removed.

    Works for a file and for a folder (which then must not exist yet). A full disk leaves what was
    there before untouched and is told as a UserError.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        holder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise _cannot_write(path, error) from error
    temporary = holder / path.name
    try:
        yield temporary
        for item in [temporary, *sorted(temporary.rglob("*"))]:
            _sync(item)
        if temporary.is_dir() and path.exists():
            raise UserError(f"{path} exists already; name another folder or remove it")
        os.replace(temporary, path)
        _sync(path.parent)
    except OSError as error:
        if error.errno in FULL:
            raise _cannot_write(path, error) from error
        raise
    finally:
        shutil.rmtree(holder, ignore_errors=True)


def _cannot_write(path: Path, error: OSError) -> UserError:
    if error.errno in FULL:
        return UserError(
            f"disk full while writing {path}; free some space and run the command again"
        )
    return UserError(f"cannot write {path} ({error.strerror}); name a place that you may write to")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically; NaN is refused because other readers cannot parse it."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path, required: Iterable[str] = ()) -> dict[str, Any]:
    """Read a JSON object and check that it has the required keys.

    Raises:
        UserError: The file is missing, is not a JSON object, or lacks a key.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing; check the path or make it again") from None
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}); check the path") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}); make it again") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} does not hold a JSON object; make it again")
    missing = [key for key in required if key not in value]
    if missing:
        raise UserError(f"{path} lacks {', '.join(missing)}; was it made by another version?")
    return value


def sha256_bytes(content: bytes) -> str:
    """Return the hexadecimal SHA-256 of some bytes."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file, read in blocks."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
