"""How much memory training takes on a dataset that is larger than it.

    python -m benchmarks.memory [--gigabytes 20] [--steps 2000] [--folder DIR] [--out FILE]

Writes a native dataset of that size, of random states and actions with the sizes of HalfCheetah and
a reward of its own, runs ``embodied train`` on it with its controls and its final evaluation, and
samples that process's ``RssAnon`` ten times a second: memory that is its own, as against pages of
files, which the system may drop. The dataset is removed at the end unless ``--keep`` is given.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.common import machine, write_result
from embodied.dataset import Episode
from embodied.dataset_json import DatasetInfo
from embodied.dataset_writer import write_dataset
from embodied.types import Field

OBSERVATION, ACTION, LENGTH = 17, 6, 1000  # of HalfCheetah-v5
# Of one transition: state, action, two flags and the reward.
BYTES = 4 * (OBSERVATION + ACTION + 1) + 2
EPISODES_MADE = 64  # written again and again: what the numbers are does not matter
LIMIT_BYTES = 2e9


def make_dataset(folder: Path, gigabytes: float) -> int:
    """Write the dataset; return its transitions."""
    rng = np.random.default_rng(0)
    low, high = (-1.0,) * ACTION, (1.0,) * ACTION
    info = DatasetInfo(
        environment="HalfCheetah-v5", action=Field((ACTION,), "1", "random", "", low, high)
    )
    made = [
        Episode(
            rng.standard_normal((LENGTH + 1, OBSERVATION), np.float32),
            rng.uniform(-1.0, 1.0, (LENGTH, ACTION)).astype(np.float32),
            terminated=False,
            columns={"environment_reward": rng.standard_normal(LENGTH, np.float32)},
        )
        for _ in range(EPISODES_MADE)
    ]
    count = int(np.ceil(gigabytes * 1e9 / (BYTES * LENGTH)))
    with write_dataset(folder, info) as writer:
        for index in range(count):
            writer.add(made[index % EPISODES_MADE])
    return count * LENGTH


def memory(pid: int) -> dict[str, int]:
    """Return the process's resident memory by kind, in bytes."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return {key: 1024 * int(value) for key, value in re.findall(r"(Rss\w+):\s+(\d+) kB", text)}


def watch(command: list[str], environment: dict[str, str]) -> tuple[int, dict[str, int], float]:
    """Run a command; return its exit code, the peak of every kind of memory, and the seconds."""
    begin, peaks = time.perf_counter(), {}
    process = subprocess.Popen(command, env=environment)
    while process.poll() is None:
        try:
            found = memory(process.pid)
        except OSError:
            break
        peaks |= {key: max(value, peaks.get(key, 0)) for key, value in found.items()}
        time.sleep(0.1)
    return process.wait(), peaks, time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=20.0)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--folder", type=Path, default=None, help="where the dataset is made")
    parser.add_argument("--keep", action="store_true", help="keep the dataset")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/memory.json"))
    options = parser.parse_args()
    about = machine(("torch", "numpy"))
    work = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        data = work / "data"
        begin = time.perf_counter()
        transitions = make_dataset(data, options.gigabytes)
        size = sum(path.stat().st_size for path in data.iterdir())
        print(f"{size / 1e9:.1f} GB, {transitions:,} transitions", flush=True)
        overrides = {
            "env": "halfcheetah",
            "data": data,
            "data.label": "environment_reward",
            "steps": options.steps,
            "curve_every": 0,
            "evaluation_episodes": 4,
        }
        command = [sys.executable, "-m", "embodied", "train", "videos=false"]
        command += [f"{key}={value}" for key, value in overrides.items()]
        made_s = time.perf_counter() - begin
        code, peaks, wall_s = watch(command, {**os.environ, "EMBODIED_RUNS": str(work / "runs")})
        if code:
            raise SystemExit(f"the training ended with {code}; nothing was written")
    finally:
        if not options.keep:
            shutil.rmtree(work)
    result = {
        "dataset": {"bytes": size, "transitions": transitions, "made_in_s": made_s},
        "training": {**{key: str(value) for key, value in overrides.items()}, "data": "DATA"},
        "wall_s": wall_s,
        "peak_bytes": peaks,
        "within_the_limit": peaks["RssAnon"] < LIMIT_BYTES,
    }
    print({key: f"{value / 1e9:.2f} GB" for key, value in peaks.items()})
    write_result(options.out, "memory", about, result)


if __name__ == "__main__":
    main()
