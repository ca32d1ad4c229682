"""The whole command against live servers: a real OpenAI-compatible one, and a scripted one."""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time

import pytest

from embodied.files import read_json
from rewards.providers.base import read_lines

SERVE = "from transformers.cli.transformers import main; main()"
REWARD = """\
def reward(state, action, next_state):
    distance = np.linalg.norm(next_state.tip_position - next_state.target_position, axis=-1)
    reach = 1.0 - np.tanh(5.0 * distance)
    return reach, {"reach": reach}
"""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_until_it_answers(port: int, process: subprocess.Popen, log) -> None:
    while process.poll() is None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        time.sleep(0.1)
    raise AssertionError(f"transformers serve ended: {log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def transformers_serve(tmp_path_factory, tiny_model):
    """``transformers serve`` with a model whose weights are random; yields its base URL."""
    pytest.importorskip("fastapi", reason="transformers[serving] is not installed")
    folder = tmp_path_factory.mktemp("serve")
    port = free_port()
    command = [sys.executable, "-c", SERVE, "serve", str(tiny_model), "--device", "cpu"]
    own = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder), "OMP_NUM_THREADS": "1"}
    log = folder / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*command, "--port", str(port), "--host", "127.0.0.1"],
            stdout=stream,
            stderr=stream,
            env=own,
        )
    try:
        wait_until_it_answers(port, process, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait()


def run_reward(console, place, *overrides, code):
    arguments = ["reward", "touch the point", "env=reach", "check_episodes=8", *overrides]
    done = console(*arguments, cwd=place, code=code)
    (run,) = (place / "runs").glob("*-reward")
    return done, run / "reward"


@pytest.fixture
def noise(transformers_serve, tiny_model, tmp_path, console):
    """Arguments that ask the live server, and the folder of the first reward run with them."""
    return [
        "provider=openai",
        f"provider.base_url={transformers_serve}",
        f"provider.model={tiny_model}",
        "provider.max_tokens=24",
    ]


def test_noise_of_a_live_server_is_refused_with_its_reasons(noise, tmp_path, console):
    done, folder = run_reward(console, tmp_path, *noise, code=2)
    assert done.stderr.count("\n") == 1
    assert "no reward passed its checks in 3 attempts" in done.stderr
    assert "no complete fenced python block" in done.stderr
    attempts = read_lines(folder / "transcript.jsonl")
    stored = read_lines(tmp_path / "runs" / "replies.jsonl")
    assert [record["attempt"] for record in attempts] == [1, 2, 3]
    assert [record["status"] for record in stored] == [200, 200, 200]
    for attempt, record in zip(attempts, stored, strict=True):
        body = json.loads(record["raw"])
        assert body["object"] == "chat.completion"
        assert attempt["reply"] == body["choices"][0]["message"]["content"]
        assert attempt["usage"]["completion_tokens"] == body["usage"]["completion_tokens"] > 0
        assert attempt["usage"]["prompt_tokens"] > 500
        assert "no complete fenced python block" in attempt["failure"]
    # Each failure was told to the model.
    assert attempts[0]["failure"] in attempts[1]["messages"][-1]["content"]
    assert attempts[1]["messages"][-2] == {"role": "assistant", "content": attempts[0]["reply"]}
    assert not (folder / "reward.py").exists()


def test_the_same_model_through_the_transformers_provider(tiny_model, tmp_path, console):
    local = ["provider=transformers", f"provider.path={tiny_model}", "provider.max_tokens=24"]
    done, folder = run_reward(console, tmp_path, *local, code=2)
    assert "no reward passed its checks in 3 attempts" in done.stderr
    attempts = read_lines(folder / "transcript.jsonl")
    assert [record["model"] for record in attempts] == ["tiny-llama"] * 3
    assert len({record["reply"] for record in attempts}) == 3
    assert len(read_lines(tmp_path / "runs" / "replies.jsonl")) == 3


def scripted(wire, server, answer, replies):
    server.script = [answer(body=wire.body(text)) for text in replies]
    return [
        f"provider={wire.name}",
        f"provider.base_url={server.url}",
        "provider.model=a-model",
        "provider.key_env=null",
    ]


def test_a_broken_first_reply_is_corrected_and_accepted(server, wire, answer, tmp_path, console):
    broken = REWARD.replace("np.linalg.norm", "np.linalg.svd")
    replies = [f"Here:\n```python\n{text}```\n" for text in (broken, REWARD)]
    _, folder = run_reward(console, tmp_path, *scripted(wire, server, answer, replies), code=0)
    first, second = read_lines(folder / "transcript.jsonl")
    assert "svd" in first["failure"]
    assert (second["failure"], second["messages"][-2]["content"]) == ("", first["reply"])
    asked = server.requests[1][2]["messages"][-1]["content"]
    asked = asked if isinstance(asked, str) else asked[0]["text"]
    assert first["failure"] in asked
    assert (folder / "reward.py").read_text() == REWARD
    provenance = read_json(folder / "provenance.json")
    assert (provenance["attempts"], provenance["provider"]) == (2, wire.name)
    assert provenance["model"] == "served-model"
