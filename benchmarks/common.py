"""What every benchmark shares: the machine it ran on, taking turns, medians, the result file."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from embodied.files import write_json
from embodied.runs import git_commit, processor_name

ROOT = Path(__file__).resolve().parent.parent
CORES = len(os.sched_getaffinity(0))


def machine(packages: Sequence[str]) -> dict[str, Any]:
    """Return the processor, the load before the measurement, and the packages' versions."""
    return {
        "processor": processor_name(),
        "cores": CORES,
        "system": f"{platform.system()} {platform.machine()}",
        "load_before": os.getloadavg()[0],
        "git_commit": git_commit(),
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in packages},
        },
    }


def command(name: str, arguments: Sequence[str], runs: Path, threads: int) -> Path:
    """Run ``embodied NAME`` as a process; return the newest run folder in ``runs``.

    Raises:
        SystemExit: The command failed.
    """
    environment = {
        "EMBODIED_RUNS": str(runs),
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-m", "embodied", name, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"embodied {name} ended with {done.returncode}: {done.stderr[-500:]}")
    return max(runs.iterdir()) if runs.is_dir() else runs


def take_turns(rounds: int, measures: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Return every candidate's rate per round; the candidates run one after another each round.

    One more round before them warms everything up and is not kept.
    """
    rates: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(rounds + 1):
        for name, measure in measures.items():
            rate = measure()
            if number:
                rates[name].append(rate)
    return rates


def quartiles(values: Sequence[float]) -> dict[str, float]:
    """Return the median and the quartiles on either side."""
    names = ("q25", "median", "q75")
    return {
        name: float(value)
        for name, value in zip(names, np.percentile(values, (25, 50, 75)), strict=True)
    }


def ratio(rates: Mapping[str, Sequence[float]], name: str, other: str) -> float:
    """Return the median of the per-round ratios, which a drifting load disturbs least."""
    return float(np.median(np.divide(rates[name], rates[other])))


def write_result(path: Path, module: str, about: Mapping[str, Any], result: Any) -> None:
    """Write the result with the machine, the load on either side, and the command."""
    write_json(
        path,
        {
            "command": " ".join([f"python -m benchmarks.{module}", *sys.argv[1:]]),
            "machine": {**about, "load_after": os.getloadavg()[0]},
            **result,
        },
    )
    print(f"written to {path}")
