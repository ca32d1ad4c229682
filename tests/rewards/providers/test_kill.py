"""A process that is killed in the middle of its calls, and started again."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from rewards.providers.base import read_lines

ROOT = Path(__file__).resolve().parents[3]
COUNT, ANSWERED = 12, 5
SCRIPT = """
import sys
from pathlib import Path
from embodied.registry import resolve

name, url, log = sys.argv[1:]
config = {"base_url": url, "model": "m", "concurrency": 3, "timeout_s": 60.0}
questions = [[{"role": "user", "content": str(n)}] for n in range(12)]
found = resolve("provider", name)(config).complete_many(questions, Path(log))
print(*(reply.text for reply in found), sep=",")
"""


@pytest.fixture
def start(server, wire, tmp_path):
    """Start the process that asks twelve questions, three at a time."""
    running = []

    def run():
        command = [sys.executable, "-c", SCRIPT, wire.name, server.url, str(tmp_path / "log.jsonl")]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        running.append(process)
        return process

    yield run
    for process in running:
        process.kill()
        process.communicate()


def text_of(body) -> str:
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else content[0]["text"]


def asked(server) -> Counter:
    return Counter(text_of(body) for _, _, body in server.requests)


def wait_for(condition, process):
    while not condition():
        assert process.poll() is None, "it ended too early"
        time.sleep(0.01)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_no_stored_call_is_repeated(server, wire, answer, start, tmp_path, how):
    log = tmp_path / "log.jsonl"

    def choose(body):
        if len(server.requests) > ANSWERED:
            return lambda handler: server.stop.wait(60)
        return answer(body=wire.body(f"re {text_of(body)}"))

    server.choose = choose
    process = start()
    wait_for(
        lambda: len(server.requests) == ANSWERED + 3 and len(read_lines(log)) == ANSWERED, process
    )
    process.send_signal(how)
    assert process.wait(30) != 0  # also Ctrl-C does not wait for what is under way
    stored = {record["request"] for record in read_lines(log)}
    before = asked(server)
    assert (len(stored), sum(before.values())) == (ANSWERED, ANSWERED + 3)

    server.choose = lambda body: answer(body=wire.body(f"re {text_of(body)}"))
    output, _ = start().communicate(timeout=60)
    assert output.decode().strip().split(",") == [f"re {n}" for n in range(COUNT)]
    # Twelve answers were paid for; the three under way at the kill were asked a second time.
    assert sum(asked(server).values()) == COUNT + 3
    assert max(asked(server).values()) == 2
    assert len(read_lines(log)) == COUNT
    assert len({record["request"] for record in read_lines(log)}) == COUNT
