"""The page's server over real sockets: what it serves, and what it refuses."""

import io
import json
import socket
import sqlite3

import av
import numpy as np
import pytest

from rewards.label_store import LabelStore
from rewards.preferences.sitting import plan
from tests.rewards.preferences.paging import PAIRS, WAIT_S, Page, frames, pages


@pytest.fixture(name="store_path")
def _store_path(tmp_path):
    return tmp_path / "runs" / "labels.sqlite"


@pytest.fixture(name="start")
def _start(store_path):
    with pages(store_path) as start:
        yield start


@pytest.fixture(name="page")
def _page(start):
    return start()


# ---- what is served ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "style.css", "script.js", "icon.svg"])
def test_the_page_is_served_under_a_strict_policy(page, name):
    status, headers, body = page.ask(f"{page.root}{name}")
    assert status == 200
    assert body
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert b"https://" not in body.replace(b"http://www.w3.org", b"")
    assert page.ask(f"{page.root}{name}", "HEAD")[2] == b""


def clip_path(page, at=0, side="left"):
    page.state()  # waits until it is there
    return f"{page.root}clip/{at}/{side}.mp4"


def test_clips_are_videos_of_the_right_sides(page):
    left = plan(12, 4, 0)[0].left
    for side, name in (("left", left), ("right", {"first": "second", "second": "first"}[left])):
        status, headers, body = page.ask(clip_path(page, 0, side))
        assert (status, headers["Content-Type"]) == (200, "video/mp4")
        with av.open(io.BytesIO(body)) as video:
            decoded = [item.to_ndarray(format="rgb24") for item in video.decode(video=0)]
            assert video.streams.video[0].codec_context.name == "h264"
            assert video.streams.video[0].average_rate == 10
        wanted = frames(PAIRS[0][name == "second"])
        assert len(decoded) == 4
        assert np.abs(np.stack(decoded).astype(int) - wanted).max() < 12


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        *(("bytes=0-99", slice(0, 100)), ("bytes=100-", slice(100, None))),
        *(("bytes=-50", slice(-50, None)), ("bytes=10-999999999", slice(10, None))),
        *(("bytes=0-0", slice(0, 1)), ("bytes=-999999999", slice(0, None))),
    ],
)
def test_a_range_is_served(page, asked, part):
    path = clip_path(page)
    whole = page.ask(path)[2]
    status, headers, body = page.ask(path, Range=asked)
    assert (status, body) == (206, whole[part])
    start, stop, _ = part.indices(len(whole))
    assert headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(whole)}"
    assert headers["Accept-Ranges"] == "bytes"


def test_ranges_that_are_not_there_or_not_understood(page):
    path = clip_path(page)
    whole = page.ask(path)[2]
    for asked in (f"bytes={len(whole)}-", "bytes=-0"):
        status, headers, body = page.ask(path, Range=asked)
        assert (status, headers["Content-Range"], body) == (416, f"bytes */{len(whole)}", b"")
    for asked in ("bytes=5-2", "bytes=0-1,4-5", "items=0-1", "bytes=a-b", "bytes=-", ""):
        status, _, body = page.ask(path, Range=asked)
        assert (status, body) == (200, whole)


# ---- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1", "localhost:1", ""]
)
def test_another_host_is_refused(page, host):
    status, _, body = page.ask(page.root, Host=host)
    assert status == 403
    assert b"token" not in body.lower()


def test_names_of_this_machine_are_served(page):
    port = page.host.rpartition(":")[2]
    for name in ("127.0.0.1", "localhost"):
        host = f"{name}:{port}"
        assert page.ask(page.root, Host=host)[0] == 200
        assert page.ask(page.root, Host=host, Origin=f"http://{host}")[0] == 200
    for origin in ("http://evil.example", "null", f"https://localhost:{port}"):
        assert page.ask(page.root, Origin=origin)[0] == 403


@pytest.mark.parametrize(
    "path", ["/", "/wrong/", "/wrong/state", "//", "/favicon.ico", "http://x/", "/é/"]
)
def test_without_the_token_nothing_is_served(page, path):
    with socket.create_connection(page.host.split(":"), timeout=WAIT_S) as raw_socket:
        raw_socket.sendall(f"GET {path} HTTP/1.1\r\nHost: {page.host}\r\n\r\n".encode())
        assert raw_socket.recv(100).startswith(b"HTTP/1.1 404 ")
    assert page.ask(page.root[:-1])[0] == 404


@pytest.mark.parametrize(
    "name",
    [
        *("../page.py", "clip/0/up.mp4", "clip/999999/left.mp4", "clip/-1/left.mp4"),
        *("clip/99999999/left.mp4", "answer", "state?", "clip/0/left.mp4/../../x", "%2e%2e"),
    ],
)
def test_nothing_else_is_served(page, name):
    assert page.ask(f"{page.root}{name}")[0] == 404


GOOD = {"position": 0, "pressed": "left", "seconds": 1.0}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        *(("", 400), ("{", 400), ("[]", 400), ("null", 400), ("[" * 1000, 400), ("\xff", 400)),
        *((GOOD | {"position": item}, 400) for item in ("0", 0.0, True, None, [])),
        *((GOOD | {"pressed": item}, 400) for item in ("first", "undone", None, [], {}, 1)),
        *((GOOD | {"seconds": item}, 400) for item in (-1, "1", None, float("nan"), float("inf"))),
        *((GOOD | {"seconds": 10**400}, 400), ({}, 400), ("x" * 1025, 413)),
        *((GOOD | {"position": item}, 409) for item in (-1, 1, 99, 10**30)),
    ],
)
def test_a_body_that_is_no_answer_changes_nothing(page, store_path, body, status):
    page.state()
    text = body if isinstance(body, str) else json.dumps(body)
    kind = {"Content-Type": "application/json"}
    found = page.ask(f"{page.root}answer", "POST", text.encode("latin-1"), **kind)
    assert found[0] == status
    assert page.state()["position"] == 0
    assert LabelStore(store_path).spent() == {}


def test_a_request_needs_its_type_its_length_and_a_known_method(page):
    root, text = page.root, json.dumps(GOOD)
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        assert page.ask(f"{root}answer", "POST", text, **{"Content-Type": kind})[0] == 415
    kind = {"Content-Type": "application/json"}
    assert page.ask(f"{root}answer", "POST", iter([text.encode()]), **kind)[0] == 411
    assert page.ask(f"{root}answer", "POST", text, **kind, **{"Content-Length": "-1"})[0] == 411
    assert page.ask(f"{root}elsewhere", "POST", text, **kind)[0] == 404
    for method in ("PUT", "DELETE", "OPTIONS", "TRACE"):
        assert page.ask(root, method)[0] == 501
    assert page.state()["position"] == 0


def test_a_store_that_cannot_be_written_is_told_and_the_pair_stays(page, monkeypatch):
    def full(*arguments):
        raise sqlite3.OperationalError("database or disk is full")

    page.state()
    with monkeypatch.context() as patch:
        patch.setattr(LabelStore, "keep", full)
        status, told = page.post("answer", GOOD)
    assert status == 500
    assert "disk is full" in told["error"]
    assert page.state()["position"] == 0
    assert page.answer()["position"] == 1


@pytest.mark.parametrize("host", ["", "0.0.0.0", "256.0.0.1", "192.0.2.1"])
def test_an_address_that_is_not_ours_is_told(start, host):
    told = str(start(host=host).error)
    assert "name one" in told or "another port" in told


def test_a_port_in_use_and_a_file_that_is_no_store_are_told(page, start, store_path):
    port = int(page.host.rpartition(":")[2])
    assert f"port {port}" in str(start(port=port).error)
    other = store_path.with_name("text")
    other.write_text("no store", encoding="utf-8")
    assert "not a label store" in str(Page(other).error)
