"""The parent's side of a worker: its environment, its process, and the lines of ``protocol``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.peers.protocol import Array
from embodied.files import write_text

ROOT = Path(__file__).resolve().parents[2]


def environment(name: str, folder: Path) -> Path:
    """Return the Python of a peer's environment, made from its pinned requirements if need be."""
    requirements = Path(__file__).with_name(f"requirements-{name}.txt")
    pinned = requirements.read_text(encoding="utf-8")
    python, stamp = folder / name / "bin" / "python", folder / name / "installed.txt"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != pinned:
        print(f"making the environment of {name} in {folder / name}; this takes minutes once")
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder / name], check=True)
        install: list[str | Path] = [
            python,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--requirement",
            requirements,
        ]
        if subprocess.run(install, check=False).returncode != 0:
            raise SystemExit(f"cannot install {requirements}; leave {name} out with --peers")
        write_text(stamp, pinned)
    return python


class Worker:
    """A process that trains one candidate when it is told to, and sleeps otherwise.

    Args:
        name: Of the candidate, for messages.
        command: What to start: a Python and the worker's module and arguments.
        threads: Of every library that the worker may load.
        log: Where its standard error goes; it is printed if the worker fails.
    """

    def __init__(self, name: str, command: Sequence[str | Path], threads: int, log: Path) -> None:
        pools = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        settings = {**os.environ, **dict.fromkeys(pools, str(threads))}
        settings |= {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
        settings["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"  # else a cold start is not cold
        self.name, self._log = name, log
        begin = time.perf_counter()
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=settings,
            )
        self.versions: Mapping[str, str] = json.loads(self._read().removeprefix("ready "))
        self.cold_start_s = time.perf_counter() - begin  # to the end of the first update

    def run(self, updates: int) -> tuple[int, float]:
        """Train; return how many updates and how many seconds they took."""
        done, seconds = self._ask(f"run {updates}").split()
        return int(done), float(seconds)

    def check(self, path: Path) -> dict[str, Array]:
        """Return the weights after one update on the task's batch; ``path`` ends in .npz."""
        self._ask(f"check {path}")
        with np.load(path, allow_pickle=False) as stored:
            return dict(stored)

    def peak_memory_mib(self) -> float:
        """Return the largest resident memory so far."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="utf-8")
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            print(self._log.read_text(encoding="utf-8", errors="replace"), file=sys.stderr)
            raise SystemExit(f"the worker of {self.name} ended; what it wrote is above")
        return line.strip()
