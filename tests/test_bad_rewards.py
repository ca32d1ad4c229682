"""Rewards and model servers that go wrong: one line, exit code 2, old files as they were."""

from __future__ import annotations

import json
import shutil
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from embodied.cli import main
from embodied.dataset import Dataset
from embodied.files import read_json
from embodied.labels import read_labels

# ---- rewards -------------------------------------------------------------------------------------

HEAD = "def reward(state, action, next_state):\n"
REWARDS = {
    "not python": ("def reward(", "reward"),
    "an import": (HEAD + "    import os\n    return 0.0, {}\n", "Import is not part"),
    "a call": (HEAD + "    x = open('/etc/passwd')\n    return x, {'x': x}\n", "open"),
    "an attribute": (HEAD + "    x = action.__class__\n    return x, {'x': x}\n", "__class__"),
    "an unknown field": (
        HEAD + "    x = next_state.success\n    return x, {'x': x}\n",
        "success",
    ),
    "a vector": (HEAD + "    x = action * 1.0\n    return x, {'x': x}\n", "[N, 6]"),
    "NaN": (HEAD + "    x = np.sqrt(-1.0 - action[:, 0] ** 2)\n    return x, {'x': x}\n", "finite"),
    "a constant": (
        HEAD + "    x = 0.0 * action[:, 0] + 3.0\n    return x, {'x': x}\n",
        "the total is the same (3)",
    ),
    "huge": (HEAD + "    x = 1000000.0 * action[:, 0]\n    return x, {'x': x}\n", "scale it"),
    "empty": ("", "reward"),
    "not UTF-8": (b"\xff\xfe", "not UTF-8"),
    "too long": ("#" * 200_000, "too long"),
}


@pytest.mark.parametrize("case", REWARDS)
def test_a_reward_that_cannot_be_used_leaves_label_and_its_reward_as_they_were(
    refused, place, case
):
    code, told = REWARDS[case]
    (place / "bad.py").write_bytes(code if isinstance(code, bytes) else code.encode())
    assert (place / "data" / "labels" / "default.reward" / "reward.py").is_file()
    assert told in refused("label", "data", "reward=file", "path=bad.py")
    assert told in refused("reward", "reward=file", "path=bad.py", "check_episodes=4")


def test_a_reward_that_fails_late_leaves_label_and_its_reward_as_they_were(
    refused, place, push_reward_file
):
    """The sample passes its checks, the whole dataset does not."""
    import numpy as np

    column = np.load(place / "data" / "state.cube_position.npy", mmap_mode="r+")
    column[-1] = np.nan
    column.flush()
    settings = ("reward=file", f"path={push_reward_file}", "check_transitions=2")
    refused("label", "data", *settings)


def test_another_reward_replaces_the_label_and_what_lies_behind_it(place):
    behind = place / "data" / "labels" / "default.reward"
    old = (behind / "reward.py").read_text()
    assert main(["label", "data"]) == 0
    assert (behind / "reward.py").read_text() != old
    _, metadata = read_labels(Dataset("data"), "default")
    assert read_json(behind / "provenance.json") == metadata["reward"]
    assert main(["label", "data", "reward=constant"]) == 0
    assert read_labels(Dataset("data"), "default")[1]["reward"]["kind"] == "constant"
    assert not behind.exists(), "a constant has no code, and the old code is not behind it"
    assert not list((place / "data" / "labels").glob("*.making"))


def test_a_saved_reward_that_was_changed_or_belongs_to_another_task(refused, place):
    shutil.copytree(place / "data" / "labels" / "default.reward", place / "run" / "reward")
    provenance = place / "run" / "reward" / "provenance.json"
    saved = provenance.read_text()
    provenance.write_text(saved.replace('"push"', '"reach"'))
    assert "made for task reach" in refused("label", "data", "reward=saved", "path=run")
    provenance.write_text(saved)
    with (place / "run" / "reward" / "reward.py").open("a") as stream:
        stream.write("# harmless\n")
    assert "was changed after it was approved" in refused(
        "label", "data", "reward=saved", "path=run"
    )


# ---- servers -------------------------------------------------------------------------------------


@pytest.fixture
def server():
    """A loopback server that answers with ``server.body``, after ``server.delay`` seconds."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(made.delay)
            self.send_response(made.status)
            self.send_header("Content-Length", str(len(made.body)))
            self.end_headers()
            self.wfile.write(made.body)

        def log_message(self, *arguments):
            pass

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.handle_error = lambda *arguments: None  # a client that gave up waiting
    made.body, made.status, made.delay = b"", 200, 0.0
    thread = threading.Thread(target=made.serve_forever, args=(0.02,))
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def provider(port: int) -> list[str]:
    return [
        "provider=openai",
        f"provider.base_url=http://127.0.0.1:{port}/v1",
        "provider.model=x",
        "provider.timeout_s=0.3",
        "provider.max_retries=0",
    ]


def chat(content: str) -> bytes:
    return json.dumps({"choices": [{"message": {"content": content}}]}).encode()


ANSWERS = {
    "no JSON": (b"<html>hello</html>", 200, "answer is not JSON"),
    "nothing": (b"", 200, "answer is not JSON"),
    "another shape": (b'{"choices": []}', 200, "holds no choices"),
    "no code": (chat("I cannot help with that."), 200, "no complete fenced python block"),
    "outside": (chat("```python\nimport os\n```"), 200, "no reward passed its checks"),
    "refusal": (b"no", 401, "HTTP 401"),
    "failure": (b"no", 500, "HTTP 500"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_a_server_that_answers_with_something_else(refused, server, case):
    server.body, server.status, told = ANSWERS[case]
    assert told in refused("label", "data", *provider(server.server_port))


def test_a_slow_server(refused, server):
    server.delay = 0.6
    assert "0.3" in refused("label", "data", *provider(server.server_port))


def test_a_server_that_is_not_there(refused, server):
    port = server.server_port
    server.shutdown()
    server.server_close()
    assert "refuses connections" in refused("label", "data", *provider(port))


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("provider.base_url=ftp://x", "base_url must look like"),
        ("provider.base_url=http://a..b/v1", "base_url must look like"),
        ("provider.base_url='http://a/v é'", "base_url must look like"),
        ("provider.base_url=http://a/vé", "cannot read the override provider.base_url=http"),
        ("provider.timeout_s=soon", "provider.timeout_s needs float"),
        ("+provider.colour=red", "colour"),
        ("provider.key_env=EMBODIED_NO_SUCH_KEY", "EMBODIED_NO_SUCH_KEY is not set"),
    ],
)
def test_a_provider_that_is_set_wrongly(refused, override, told):
    assert told in refused("label", "data", *provider(9), override)
