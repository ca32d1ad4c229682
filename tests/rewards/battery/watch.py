"""Runs the whole attack list in a process of its own and tells what it did to that process.

    python -m tests.rewards.battery.watch

An audit hook (``sys.addaudithook``, PEP 578) hears of every file, import, socket, subprocess, code
object and foreign library from the first attack to the last; address space is limited to a little
more than what the process has when they begin. JSON is printed.
"""

import builtins
import gc
import json
import os
import resource
import signal
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import torch

from embodied.types import Transitions
from rewards.code_reward import CodeReward
from rewards.dialect import DialectError, evaluate
from tests.rewards.battery import IDEAS
from tests.rewards.battery.bombs import LARGE
from tests.rewards.battery.idea import ACTION, FIELDS, HARMLESS, read

ROWS = 4096
ADDRESS_SPACE = 256 * 2**20  # bytes that may be mapped beyond what is there at the start
# ``ast.parse`` announces that it compiles a text to a tree ("exec" would say that code is run), and
# opens the file without a name, which is none, to quote a line that is wrong.
EXPECTED = ("compile (", "open ('', 'rb', ")
heard: list[str] = []
listening = False


def hook(event, arguments):
    line = f"{event} {arguments!r:.80}"
    if listening and not line.startswith(EXPECTED):
        heard.append(line)


def status(key):
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    raise KeyError(key)


def condition():
    """Return what an attack could leave behind, as a text that can be compared."""
    tasks = os.listdir("/proc/self/task")
    children = [Path(f"/proc/self/task/{task}/children").read_text() for task in tasks]
    return {
        "threads": (len(tasks), threading.active_count()),
        "children": "".join(children),
        "descriptors": sorted(os.listdir("/proc/self/fd")),
        "folder": os.listdir("."),
        "modules": set(sys.modules),
        "builtins": set(vars(builtins)),
        "environment": sorted(os.environ.items()),
        "signals": [repr(signal.getsignal(n)) for n in sorted(signal.valid_signals())],
        "numpy": (repr(np.geterr()), repr(np.get_printoptions()), set(vars(np))),
        "random": (repr(np.random.get_state()), torch.get_rng_state().sum().item()),  # noqa: NPY002
        "torch": (torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()),
        "limits": (sys.getrecursionlimit(), sys.gettrace(), sys.getprofile()),
        "warnings": len(warnings.filters),
        "exception": repr(sys.exc_info()),
    }


def differing(before, after):
    if before == after:
        return ""
    return repr(before ^ after if isinstance(before, set) else (before, after))[:1000]


def batches(rows):
    rng = np.random.default_rng(0)

    def state():
        arrays = {
            n: rng.normal(size=(rows, *f.shape)).astype(np.float32) for n, f in FIELDS.items()
        }
        for array in arrays.values():
            array.flags.writeable = False
        return arrays

    action = rng.normal(size=(rows, *ACTION.shape)).astype(np.float32)
    action.flags.writeable = False
    zeros = np.zeros((rows, 1), np.float32)
    return Transitions(zeros, action, zeros, zeros[:, 0] > 0, zeros[:, 0] > 0, state(), state())


def attempt(text, batch):
    """Parse a source, and where it is accepted compute it as the stages do and on tensors."""
    try:
        program = read(text)
    except DialectError:
        return "refused"
    CodeReward(program, {}).score(batch)
    arrays = {
        entry: batch.action
        if entry.source == "action"
        else getattr(batch, entry.source)[entry.name]
        for entry in program.inputs
    }
    evaluate(program, arrays)
    evaluate(program, {entry: tensor_of(array) for entry, array in arrays.items()})
    return "contained"


def tensor_of(array):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that the memory cannot be written to
        return torch.from_numpy(array)


def main():
    global listening
    torch.set_num_threads(1)
    batch = batches(ROWS)
    texts = [pair[0] for idea in IDEAS.values() for pair in (*idea.refused(), *idea.contained)]
    for text in (HARMLESS, LARGE[-1], "\u00e9 = ("):  # what is imported on first use
        attempt(text, batch)
    condition(), status("VmSize")
    sys.addaudithook(hook)
    gc.collect()
    before = condition()
    mapped = status("VmSize") * 1024
    resource.setrlimit(resource.RLIMIT_AS, (mapped + ADDRESS_SPACE, resource.RLIM_INFINITY))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes, slowest = {"refused": 0, "contained": 0}, 0.0
    for text in (*texts, *LARGE):
        listening, begin = True, time.process_time()
        outcome = attempt(text, batch)
        listening = False
        slowest = max(slowest, time.process_time() - begin)
        outcomes[outcome] += 1
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
    gc.collect()
    after = condition()
    changed = {key: differing(before[key], after[key]) for key in before}
    changed = {key: value for key, value in changed.items() if value}
    report = {"heard": heard, "changed": changed, "outcomes": outcomes, "grown_kb": grown}
    print(json.dumps({**report, "slowest_s": slowest}))


if __name__ == "__main__":
    main()
