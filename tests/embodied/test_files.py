from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodied import files
from embodied.errors import UserError
from embodied.files import (
    atomic_path,
    read_json,
    sha256_bytes,
    sha256_file,
    write_json,
    write_text,
)


def left_over(folder: Path) -> list[str]:
    """Return hidden temporary names in a folder."""
    return [item.name for item in folder.iterdir() if item.name.startswith(".")]


def test_a_file_appears_with_its_content_and_nothing_beside_it(tmp_path):
    write_text(tmp_path / "deep" / "a.txt", "grüße\n")
    assert (tmp_path / "deep" / "a.txt").read_text(encoding="utf-8") == "grüße\n"
    assert [item.name for item in (tmp_path / "deep").iterdir()] == ["a.txt"]


def test_an_exception_leaves_the_old_content_and_nothing_beside_it(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail():
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_the_new_file_is_not_visible_before_the_block_ends(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_a_folder_appears_whole(tmp_path):
    with atomic_path(tmp_path / "folder") as temporary:
        (temporary / "inner").mkdir(parents=True)
        (temporary / "inner" / "a").write_text("1")
        assert not (tmp_path / "folder").exists()
    assert (tmp_path / "folder" / "inner" / "a").read_text() == "1"
    assert os.listdir(tmp_path) == ["folder"]


def test_a_folder_never_replaces_another(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "kept").write_text("1")
    with pytest.raises(UserError, match="exists already"), atomic_path(tmp_path / "folder") as new:
        new.mkdir()
    assert os.listdir(tmp_path / "folder") == ["kept"]
    assert os.listdir(tmp_path) == ["folder"]


KILLED = """
import os, signal, sys
from pathlib import Path
from embodied.files import atomic_path
with atomic_path(Path(sys.argv[1])) as temporary:
    with temporary.open("w") as stream:
        stream.write("new " * 100_000)
        stream.flush()
        print("writing", flush=True)
        sys.stdin.read()  # waits here until it is killed
"""


def test_sigkill_in_the_middle_of_writing_leaves_the_old_content(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(files.__file__).parent.parent,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    process.send_signal(signal.SIGKILL)
    assert process.wait(10) == -signal.SIGKILL
    process.communicate()
    assert path.read_text() == "old"
    write_text(path, "newer")
    assert path.read_text() == "newer"


def test_a_really_full_disk_is_told_and_leaves_the_old_file(small_disk):
    path = small_disk / "a.txt"
    write_text(path, "old")
    with pytest.raises(UserError, match="disk full while writing"):
        write_text(path, "new" * 100_000)
    assert path.read_text() == "old"
    assert left_over(small_disk) == []
    write_text(path, "fits")
    assert path.read_text() == "fits"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["write_text", "fsync", "replace"])
def test_a_full_disk_at_any_step_is_told_and_leaves_the_old_file(
    tmp_path, monkeypatch, call, number
):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail(*arguments, **options):
        raise OSError(number, os.strerror(number))

    where = {"write_text": Path, "fsync": os, "replace": os}[call]
    with monkeypatch.context() as patch:
        patch.setattr(where, call, fail)
        with pytest.raises(UserError, match="disk full while writing"):
            write_text(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_disk_without_room_for_the_temporary_name_is_told(tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.tempfile, "mkdtemp", fail)
        with pytest.raises(UserError, match="disk full"):
            write_text(tmp_path / "a.txt", "new")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOTDIR])
def test_a_place_that_cannot_be_written_is_a_user_error(tmp_path, monkeypatch, number):
    def fail(*arguments, **options):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(files.tempfile, "mkdtemp", fail)
        with pytest.raises(UserError, match="cannot write"):
            write_text(tmp_path / "a.txt", "new")


def test_a_file_in_place_of_a_parent_folder_is_a_user_error(tmp_path):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(UserError, match="cannot write"):
        write_text(tmp_path / "file" / "a.txt", "new")
    assert (tmp_path / "file").read_text() == "kept"


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # Surrogates have no UTF-8.
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc"), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=40, deadline=None)
@given(value=st.dictionaries(st.text("abc"), json_values, max_size=4))
def test_json_comes_back_as_it_was_written(value, tmp_path_factory):
    path = tmp_path_factory.mktemp("json") / "a.json"
    write_json(path, value)
    assert read_json(path) == value


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_is_not_written(tmp_path, value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"a": value})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "is missing"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[1]", "does not hold a JSON object"),
        (b'"text"', "does not hold a JSON object"),
        (b'{"b": 1}', "lacks a"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON"),
    ],
)
def test_a_json_file_that_cannot_be_used_is_a_user_error(tmp_path, content, told):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=told) as caught:
        read_json(path, ("a",))
    assert "\n" not in str(caught.value)


def test_a_folder_in_place_of_a_json_file_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="cannot read"):
        read_json(tmp_path)


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=60))
def test_any_bytes_as_json_give_an_object_or_a_user_error(content, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_bytes(content)
    try:
        assert isinstance(read_json(path), dict)
    except UserError:
        with pytest.raises((ValueError, AssertionError)):
            assert isinstance(json.loads(content), dict)


def test_hashes_are_sha256(tmp_path):
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_bytes(b"abc") == sha256_file(tmp_path / "abc") == known
