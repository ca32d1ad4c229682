"""What the tests of improvement loops share: a scripted server, a run to improve, a kill switch."""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = '''\
def reward(state, action, next_state):
    """Bring the cube to the target."""
    before = np.linalg.norm(state.cube_position - state.target_position, axis=-1)
    after = np.linalg.norm(next_state.cube_position - next_state.target_position, axis=-1)
    reach = -np.linalg.norm(next_state.tip_position - next_state.cube_position, axis=-1)
    near = 1.0 if after < 0.03 else 0.0
    progress = WEIGHT * (before - after)
    total = progress - after + 0.2 * reach + near
    return total, {"progress": progress, "after": -after, "reach": 0.2 * reach, "near": near}
'''


def program(weight):
    return PROGRAM.replace("WEIGHT", f"{float(weight)}")


class Server:
    """Answers call ``n`` with program ``n``, where ``n`` counts the answers that were kept.

    So an answer that a kill lost on its way is given again, as a sampling model never would, and
    a loop that was killed can be compared with one that was not.
    """

    def __init__(self):
        self.calls, self.log = [], Path()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.calls.append(json.loads(body)["messages"])
                text = f"```python\n{program(5 + outer.kept())}```"
                usage = {"prompt_tokens": 100, "completion_tokens": 50}
                choices = [{"message": {"content": text}}]
                answer = json.dumps({"choices": choices, "usage": usage}).encode()
                with contextlib.suppress(OSError):  # the asker may have been killed
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def kept(self):
        return len(self.log.read_bytes().splitlines()) if self.log.is_file() else 0

    def begin(self, runs):
        """Forget all calls; from now on answers are kept in that folder of runs."""
        self.calls, self.log = [], runs / "replies.jsonl"

    @property
    def provider(self):
        url = f"http://127.0.0.1:{self.http.server_port}/v1"
        return ["provider=openai", f"provider.base_url={url}", "provider.model=scripted"]


# Imports once what a command needs, then forks a process for every line of arguments.
ZYGOTE = """
import json, os, sys, torch
import embodied.cli, embodied.stages.reflect, rewards.reflection, policies.iql, sim, hydra
import embodied.report.charts
torch.set_num_threads(1)
embodied.report.charts.available = lambda: False  # drawing takes longer than all the rest
print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)
        code = 1
        try:
            code = embodied.cli.main(json.loads(line))
        finally:
            os._exit(code)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


class Zygote:
    """Runs commands in processes of their own that can be killed, without a start each time."""

    def __init__(self, runs, place):
        environment = {**os.environ, "EMBODIED_RUNS": str(runs), "PYTHONPATH": str(ROOT)}
        self.log = (place / "zygote.log").open("a+")
        self.process = subprocess.Popen(
            [sys.executable, "-c", ZYGOTE],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        assert self._line() == "ready"

    def _line(self):
        return self.process.stdout.readline().strip()

    def run(self, *arguments, kill_when=None, wait_s=0.0):
        """Run a command; kill it ``wait_s`` after ``kill_when()``. Return how it ended."""
        self.process.stdin.write(json.dumps(arguments) + "\n")
        self.process.stdin.flush()
        child, ended = int(self._line()), []
        waiting = threading.Thread(target=lambda: ended.append(int(self._line())))
        waiting.start()
        while kill_when is not None and waiting.is_alive():
            if kill_when():
                time.sleep(wait_s)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
                break
            time.sleep(0.002)
        waiting.join()
        status = ended[0]
        return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)

    def said(self):
        self.log.seek(0)
        return self.log.read()

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.log.close()


def copy_run(run, target, dataset):
    """Copy a run and point its config at another copy of its dataset."""
    shutil.copytree(run, target)
    config = target / "config.yaml"
    lines = config.read_text().splitlines()
    place = lines.index("  paths:") + 1
    config.write_text("\n".join([*lines[:place], f"  - {dataset}", *lines[place + 1 :]]) + "\n")
    return target


CLOCKS = ("wall_s", "date", "created", "seconds", "timings")


def without_clocks(value):
    """Return JSON values without what depends on when, and how fast, they were made."""
    if isinstance(value, dict):
        return {key: without_clocks(item) for key, item in value.items() if key not in CLOCKS}
    return [without_clocks(item) for item in value] if isinstance(value, list) else value


def digests(rounds):
    """Return what a loop left: place -> SHA-256, clocks and what a kill may leave over left out."""
    found = {}
    for path in sorted(rounds.rglob("*")):
        name = str(path.relative_to(rounds))
        if not path.is_file() or "/." in f"/{name}" or path.suffix in (".html", ".yaml"):
            continue
        if path.name in ("manifest.json", "spent.json", "request.json"):
            continue
        content = path.read_bytes()
        if path.suffix in (".json", ".jsonl"):
            lines = content.decode().splitlines() if path.suffix == ".jsonl" else [content.decode()]
            content = json.dumps([without_clocks(json.loads(line)) for line in lines]).encode()
        elif path.suffix == ".safetensors" and "checkpoints" in name:
            continue  # holds the seconds of training
        found[name] = hashlib.sha256(content).hexdigest()
    return found
