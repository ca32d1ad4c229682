"""Recovery: a training that is killed at a random moment ends with the bits of one that was not.

    python -m benchmarks.recovery [--kills 50] [--out FILE]

``embodied train`` runs as a process of its own on a small dataset, once undisturbed. Then it is
started again and again; each time SIGKILL comes at a moment drawn uniformly from the undisturbed
run's wall time, imports, checkpoints, export and evaluation included. ``embodied train resume=RUN``
then has to end with the same bytes in every policy package and the same numbers in the newest
checkpoint, but for the seconds that it holds. A run that was killed before it had described itself
has nothing to go on with and is started afresh, as its user would.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import machine, write_result
from embodied.checkpoints import load_newest
from embodied.environments import EnvConfig
from embodied.files import sha256_file
from embodied.stages.collect import CollectConfig, collect
from embodied.stages.label import LabelConfig, label

ROOT = Path(__file__).resolve().parent.parent
CLOCK = "wall_s"  # the one number of a checkpoint that may differ
DRAW_SEED = 0
# A training of a few seconds with every control and a checkpoint every 64 updates.
SETTINGS = (
    *("env=push", "env.max_steps=10", "seeds=[0,1]", "threads=1", "device=cpu"),
    *("policy.hidden=[32,32]", "policy.batch_size=64", "steps=768", "checkpoint_every=64"),
    *("curve_every=0", "evaluation_episodes=10", "videos=false"),
)


def make_data(folder: Path, episodes: int = 64) -> Path:
    """Collect and label a small dataset."""
    collect(CollectConfig(EnvConfig("push"), {"name": "scripted"}, str(folder), episodes=episodes))
    label(folder, LabelConfig({"name": "success"}, {"name": "recorded"}))
    return folder


@dataclass(frozen=True)
class Bits:
    """What a finished training has to be equal in."""

    packages: dict[str, str]  # place -> SHA-256 of the weights
    step: int  # of the newest checkpoint
    checkpoint: str  # SHA-256 of its numbers without the clock


def bits_of(run: Path) -> Bits:
    """Read a finished run."""
    packages = {
        str(path.parent.relative_to(run)): sha256_file(path)
        for path in sorted(run.rglob("policy.safetensors"))
    }
    found = load_newest(run / "checkpoints")
    if found is None or not packages:
        raise SystemExit(f"{run} ended without a checkpoint or without a policy")
    step, state = found
    digest = hashlib.sha256()
    for name in sorted(state):
        if name != CLOCK:
            array = state[name].numpy()
            digest.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return Bits(packages, step, digest.hexdigest())


def start(arguments: Sequence[str], runs: Path) -> subprocess.Popen[bytes]:
    """Start ``embodied train`` with its run folders under ``runs``."""
    environment = {**os.environ, "EMBODIED_RUNS": str(runs), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "embodied", "train", *arguments],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def finish(process: subprocess.Popen[bytes]) -> None:
    """Wait for a training; a failed one ends the benchmark."""
    _, said = process.communicate()
    if process.returncode:
        raise SystemExit(f"train ended with {process.returncode}: {said.decode()[-500:]}")


def run_in(runs: Path) -> Path | None:
    """Return the one run folder, or None while there is none."""
    return next(iter(sorted(runs.iterdir())), None) if runs.is_dir() else None


def phase_of(run: Path | None) -> tuple[str, int]:
    """Return what a killed training was doing, and the step of its newest checkpoint."""
    if run is None or not (run / "manifest.json").is_file():
        return "start", 0
    kept = sorted((run / "checkpoints").glob("step_*.safetensors"))
    step = int(kept[-1].stem.removeprefix("step_")) if kept else 0
    if (run / "result.json").is_file():
        return "report", step
    if (run / "behaviour.json").is_file():
        return "evaluation", step
    if list(run.glob("policy/*")) or list(run.glob("controls/*")):
        return "export", step
    half_written = any(path.name.startswith(".") for path in (run / "checkpoints").glob("*"))
    return ("writing a checkpoint" if half_written else "training"), step


def kill_and_resume(arguments: Sequence[str], runs: Path, moment_s: float) -> dict[str, Any] | None:
    """Kill one training and resume it to its end; None when it ended before it could be killed."""
    process = start(arguments, runs)
    try:
        process.wait(moment_s)
    except subprocess.TimeoutExpired:
        process.kill()
    process.communicate()
    if process.returncode == 0:
        return None
    run = run_in(runs)
    phase, step = phase_of(run)
    if phase == "start":
        shutil.rmtree(runs, ignore_errors=True)
        finish(start(arguments, runs))
    else:
        finish(start([f"resume={run}"], runs))
    return {"moment_s": moment_s, "phase": phase, "newest_checkpoint": step}


def measure(kills: int, folder: Path, settings: Sequence[str] = SETTINGS) -> dict[str, Any]:
    """Train undisturbed, then kill and compare until ``kills`` were made; return the result."""
    arguments = [*settings, f"data={make_data(folder / 'data')}"]
    begun = time.monotonic()
    finish(start(arguments, folder / "undisturbed"))
    wall_s = time.monotonic() - begun
    undisturbed = run_in(folder / "undisturbed")
    assert undisturbed is not None
    expected = bits_of(undisturbed)
    rng, trials, too_late = np.random.default_rng(DRAW_SEED), [], 0
    while len(trials) < kills:
        runs = folder / "killed"
        trial = kill_and_resume(arguments, runs, float(rng.uniform(0.0, wall_s)))
        run = run_in(runs)
        assert run is not None
        equal = bits_of(run) == expected
        shutil.rmtree(runs)
        if trial is None:
            too_late += 1
            continue
        trials.append({**trial, "equal": equal})
        print(f"{len(trials)}/{kills} {trial['phase']} at {trial['moment_s']:.2f} s: {equal}")
    return {
        "settings": list(settings),
        "undisturbed_s": wall_s,
        "packages": len(expected.packages),
        "last_step": expected.step,
        "kills": len(trials),
        "all_equal": all(trial["equal"] for trial in trials),
        "kills_by_phase": dict(Counter(trial["phase"] for trial in trials)),
        "ended_before_the_kill": too_late,
        "trials": trials,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/recovery.json"))
    options = parser.parse_args(arguments)
    about = machine(("torch", "numpy", "safetensors"))
    with tempfile.TemporaryDirectory() as folder:
        result = measure(options.kills, Path(folder))
    write_result(options.out, "recovery", about, result)


if __name__ == "__main__":
    main()
