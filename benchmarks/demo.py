"""What a new user gets: a fresh clone, a fresh environment, ``make demo``, timed from the outside.

    python -m benchmarks.demo [--out benchmarks/results/demo.json]

The commit that is checked out here is cloned to a temporary folder, so nothing that is not
committed, and no environment that exists, takes part.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

from embodied.files import write_json
from embodied.runs import git_commit, processor_name

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Clone, run and keep what came out."""
    parser = argparse.ArgumentParser(description="Time `make demo` on a fresh clone.")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/demo.json")
    options = parser.parse_args()
    load_before = os.getloadavg()
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "embodied-stack"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        started = time.monotonic()
        code = subprocess.run(["make", "demo"], cwd=clone, check=False).returncode
        seconds = time.monotonic() - started
        runs = sorted((clone / "runs").glob("*-demo/result.json"))
        if code or not runs:
            raise SystemExit(f"make demo ended with code {code} after {seconds:.0f} s")
        run = runs[-1].parent
        read = {
            name: json.loads((run / f"{name}.json").read_text(encoding="utf-8"))
            for name in ("result", "timings", "manifest")
        }
        deployed = json.loads((run / "deployments/0/result.json").read_text(encoding="utf-8"))
    stages = sum(read["timings"].values())
    keys = ("python", "platform", "processor", "cores", "versions", "torch_threads")
    write_json(
        options.out,
        {
            "command": "make demo",
            "commit": git_commit(),
            "processor": processor_name(),
            "load_before": load_before,
            "seconds": {
                "total": round(seconds, 1),
                "installation_and_start": round(seconds - stages, 1),
                **read["timings"],
            },
            "machine": {key: read["manifest"].get(key) for key in keys},
            "products": read["manifest"]["products"],
            "result": read["result"],
            "deployment": deployed,
        },
    )
    print(f"{seconds:.0f} s in all; written to {options.out}")


if __name__ == "__main__":
    main()
