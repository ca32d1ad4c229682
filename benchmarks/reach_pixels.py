"""SO-101 reach from pixels: a reward of the embedded CLIP's preferences and nothing else.

    python -m benchmarks.reach_pixels

Every seed has its own dataset of the scripted mixture, its own labels in a look (colours, cameras)
that the CLIP never saw, and its own policies: IQL on the learnt reward, and the controls of
`embodied train` (behaviour cloning, constant reward, true reward) on the same data.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import ROOT, command, machine, write_result
from embodied.files import read_json

REWARD = ("reward=rlvlmf", "reward.source=clip", "reward.pairs=3000")
POLICY = ("policy=iql", "policy.learning_rate=0.001", "policy.polyak=0.01", "policy.discount=0.95")
CONTROLS = ("behaviour", "bc", "constant_reward", "true_reward")


def run(task: str, seed: int, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Collect, label, train and evaluate one seed."""
    data = folder / f"{task}-{seed}"
    given = [f"env={task}", "env.threads=1", f"episodes={options.episodes}", f"seed={seed}"]
    command("collect", [*given, f"output={data}"], folder / "none", threads=1)
    own = [f"reward.seed={seed}", f"reward.look={seed + 1}", *options.reward]
    command("label", [str(data), *REWARD, *own], folder / f"labelling-{seed}", threads=1)
    measured = read_json(data / "labels/default.reward/diagnostics.json")["preferences"]
    train = [
        *(f"env={task}", "env.threads=1", *POLICY, f"data.paths=[{data}]"),
        *(f"seeds=[{seed}]", f"steps={options.steps}", "curve_every=0", "threads=1"),
        *("videos=false", *options.settings),
    ]
    place = command("train", train, folder / f"runs-{seed}", threads=1)
    result = read_json(place / "result.json")
    rows = {"policy": result, **result["controls"]}
    success = {name: rows[name]["success"]["mean"] for name in ("policy", *CONTROLS)}
    print(f"seed {seed}: {success}", flush=True)
    return {
        "seed": seed,
        "success": success,
        **{key: item for key, item in measured.items() if key not in ("curve", "epochs")},
    }


def summary(success: list[dict[str, float]]) -> tuple[Any, Any, Any]:
    """Return means, gaps to the controls and the share of the true reward, by a bootstrap."""
    rng = np.random.default_rng(0)
    every = {name: np.array([item[name] for item in success]) for name in success[0]}
    draws = rng.integers(len(success), size=(10_000, len(success)))

    def interval(values: Any) -> list[float]:
        return [float(x) for x in np.quantile(values, (0.025, 0.975))]

    table = {
        name: {"mean": float(values.mean()), "ci95": interval(values[draws].mean(1))}
        for name, values in every.items()
    }
    policy = every["policy"][draws].mean(1)
    gaps = {
        f"policy - {name}": interval(policy - every[name][draws].mean(1))
        for name in ("bc", "constant_reward", "behaviour")
    }
    ratio = policy / np.maximum(every["true_reward"][draws].mean(1), 1e-9)
    mean = float(every["policy"].mean() / max(every["true_reward"].mean(), 1e-9))
    return table, gaps, {"mean": mean, "ci95": interval(ratio)}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--task", default="reach", choices=("reach", "push"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--episodes", type=int, default=1200)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--reward", nargs="*", default=[], help="KEY=VALUE of the reward")
    parser.add_argument("settings", nargs="*", help="KEY=VALUE of `embodied train`")
    options = parser.parse_intermixed_args(arguments)
    about = machine(("torch", "open_clip_torch", "mujoco", "numpy"))
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(options.jobs) as pool:
        folder = Path(temporary).resolve()
        jobs = [pool.submit(run, options.task, seed, folder, options) for seed in options.seeds]
        seeds = [job.result() for job in jobs]
    table, gaps, share = summary([item["success"] for item in seeds])
    result = {
        "task": options.task,
        "settings": [*REWARD, *options.reward, *POLICY, *options.settings],
        "episodes": options.episodes,
        "steps": options.steps,
        "success": table,
        "share_of_true_reward": share,
        "gap_ci95": gaps,
        "statement": "the CLIP learnt from captions of simulator state, in other looks than these",
        "seeds": seeds,
    }
    out = options.out or ROOT / f"benchmarks/results/{options.task}_pixels.json"
    write_result(out, "reach_pixels", about, result)


if __name__ == "__main__":
    main()
