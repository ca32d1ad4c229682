"""How long a generated reward takes to label a million stored transitions, and in what memory.

    python -m benchmarks.label [--transitions 1000000] [--rounds 3] [--out ...]

Scripted push episodes are collected and repeated on disk until there are enough; each round labels
them anew through ``embodied.stages.label`` in a fresh process, with the reward that the recorded
reply holds. The memory is the highest anonymous resident memory (``RssAnon``, sampled every 2 ms)
during the call minus that just before it: pages of the memory-mapped dataset are the system's
cache, not the program's memory, and ``VmHWM``, which counts them, is reported beside it. The
dataset has just been written, so it is read from that cache.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.common import machine, quartiles, write_result
from embodied.dataset import Dataset
from embodied.dataset_writer import write_dataset
from embodied.environments import EnvConfig
from embodied.stages.collect import CollectConfig, collect
from embodied.stages.label import LabelConfig, label

COLLECTED = 256  # episodes
MEGABYTE = 1e6
LIMIT_S, LIMIT_MB = 5.0, 1000.0


def make_dataset(folder: Path, transitions: int) -> Path:
    """Collect push episodes and repeat them until there are at least ``transitions``."""
    config = CollectConfig(EnvConfig("push"), {"name": "scripted"}, str(folder / "few"), COLLECTED)
    few = Dataset(collect(config).folder)
    episodes = [few.episode(index) for index in range(few.num_episodes)]
    written = 0
    with write_dataset(folder / "many", few.info) as writer:
        while written < transitions:
            for episode in episodes:
                writer.add(episode)
                written += len(episode.action)
    return folder / "many"


def status(key: str) -> float:
    """Return an entry of ``/proc/self/status`` in megabytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{key}:"):
            return float(line.split()[1]) * 1024 / MEGABYTE
    raise KeyError(key)


class PeakMemory:
    """The highest anonymous resident memory while the block runs, above that before it."""

    def __enter__(self) -> PeakMemory:
        self.before = self.peak = status("RssAnon")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.002):
            self.peak = max(self.peak, status("RssAnon"))

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
        self.peak = max(self.peak, status("RssAnon"))


def label_once(folder: str) -> None:
    """Label the dataset in this process and print what it took, as JSON."""
    reward = {"name": "text2reward", "instruction": None}
    config = LabelConfig(reward, {"name": "recorded"})
    hwm = status("VmHWM")
    with PeakMemory() as memory:
        begin = time.perf_counter()
        label(folder, config)
        seconds = time.perf_counter() - begin
    print(
        json.dumps(
            {
                "seconds": seconds,
                "extra_anonymous_mb": memory.peak - memory.before,
                "extra_with_mapped_pages_mb": status("VmHWM") - hwm,
            }
        )
    )


def in_a_fresh_process(folder: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.label", "--label", str(folder)]
    begin = time.perf_counter()
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, float] = json.loads(said.splitlines()[-1])
    return {**found, "whole_process_s": time.perf_counter() - begin}


def measure(transitions: int, rounds: int) -> dict[str, Any]:
    """Return medians over the rounds and what was labelled."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = make_dataset(Path(temporary), transitions)
        dataset = Dataset(folder)
        rows = [in_a_fresh_process(folder) for _ in range(rounds)]
        size = sum(path.stat().st_size for path in folder.glob("*.npy")) / MEGABYTE
        return {
            "transitions": len(dataset),
            "dataset_mb": size,
            "rounds": rounds,
            **{key: quartiles([row[key] for row in rows]) for key in rows[0]},
            "transitions_per_s": len(dataset) / quartiles([r["seconds"] for r in rows])["median"],
            "limits": {"seconds": LIMIT_S, "extra_anonymous_mb": LIMIT_MB},
            "every_round": rows,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--transitions", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/label.json"))
    parser.add_argument("--label", metavar="DATA", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.label:
        label_once(options.label)
        return
    about = machine(("numpy", "pyarrow"))
    result = measure(options.transitions, options.rounds)
    seconds, extra = (result[key]["median"] for key in ("seconds", "extra_anonymous_mb"))
    print(
        f"{result['transitions']} transitions in {seconds:.2f} s "
        f"({result['transitions_per_s']:.0f} per s), {extra:.0f} MB beyond the dataset"
    )
    write_result(options.out, "label", about, result)


if __name__ == "__main__":
    main()
