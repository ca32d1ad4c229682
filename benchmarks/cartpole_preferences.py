"""RL-VLM-F's offline table in small: CartPole, rewards from preferences and what they are held to.

    python -m benchmarks.cartpole_preferences

Every seed has its own dataset, its own labels and its own policy. Random data are 1,024 episodes of
held random actions, expert data 128 episodes of good feedback. Arms are IQL on the true reward, on
a constant, and on rewards learnt from 5,000 preferences, about as many as the paper asks for: of an
oracle that is exact, of one that has the errors and the silence measured of real models, and of the
embedded CLIP, which looks at drawn frames in a look that it never saw and knows nothing of the true
reward.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import ROOT, command, machine, write_result
from embodied.files import read_json

DATA = {
    "random": ("behaviour=random", "episodes=1024"),
    "expert": (
        "behaviour=cartpole_scripted",
        "episodes=128",
        *(f"behaviour.{kind}={share}" for kind, share in (("good", 1.0), ("weak", 0.0))),
        "behaviour.wrong=0.0",
        "behaviour.random=0.0",
        "behaviour.noise=0.2",
    ),
}
LEARNT = ("reward=rlvlmf", "reward.pairs=5000")
ARMS: Mapping[str, tuple[str, ...]] = {
    "true": (),
    "constant": ("reward=constant",),
    "oracle": (*LEARNT, "reward.source=oracle"),
    "oracle, ties as halves": (*LEARNT, "reward.source=oracle", "reward.ties=half"),
    "oracle, CartPole's noise": (*LEARNT, "reward.source=oracle", "reward.profile=cartpole"),
    "oracle, Drawer's noise": (*LEARNT, "reward.source=oracle", "reward.profile=drawer"),
    "embedded CLIP": (*LEARNT, "reward.source=clip"),
    "embedded CLIP, unsure below 0.02": (*LEARNT, "reward.source=clip", "reward.unsure=0.02"),
}
# Settled on datasets of seed 100, with the true reward.
POLICY = (
    "policy=iql",
    "policy.hidden=[128,128]",
    "policy.learning_rate=0.001",
    "policy.polyak=0.01",
    "policy.temperature=30",
)
MEASURED = (
    "label_accuracy",
    "labels_by_decile",
    "held_out_accuracy",
    "true_pair_accuracy",
    "true_rank_correlation",
    "said",
)


def run(kind: str, arm: str, seed: int, folder: Path, steps: int) -> dict[str, Any]:
    """Label, train and evaluate one policy."""
    data, place = folder / f"{kind}-{seed}", folder / f"{kind}-{arm.replace(' ', '-')}-{seed}"
    label = "environment_reward"
    found: dict[str, Any] = {"seed": seed}
    if ARMS[arm]:
        label = "".join(letter for letter in arm if letter.isalnum())
        own = [f"reward.seed={seed}", f"reward.look={seed + 1}"] if LEARNT[0] in ARMS[arm] else []
        options = [str(data), *ARMS[arm], *own, f"label={label}"]
        command("label", options, place / "labelling", threads=1)
        diagnostics = data / f"labels/{label}.reward/diagnostics.json"
        if diagnostics.is_file():
            measured = read_json(diagnostics)["preferences"]
            found |= {name: measured[name] for name in MEASURED if name in measured}
    given = [
        "env=cartpole",
        *POLICY,
        f"data.paths=[{data}]",
        f"data.label={label}",
        f"seeds=[{seed}]",
        f"steps={steps}",
        *("controls=false", "curve_every=0", "threads=1", "videos=false"),
    ]
    result = read_json(command("train", given, place / "runs", threads=1) / "result.json")
    found |= {"return": result["return"]["mean"], "success": result["success"]["mean"]}
    found["behaviour"] = result["controls"]["behaviour"]["return"]["mean"]
    print(f"{kind}, {arm}, seed {seed}: {found['return']:.1f}", flush=True)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--data", nargs="+", default=list(DATA), choices=list(DATA))
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    about = machine(("torch", "open_clip_torch", "numpy"))
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(options.jobs) as pool:
        folder = Path(temporary).resolve()
        for kind in options.data:
            for seed in options.seeds:
                given = [*DATA[kind], f"seed={seed}", f"output={folder / f'{kind}-{seed}'}"]
                command("collect", ["env=cartpole", *given], folder / "none", threads=1)
        jobs = {
            (kind, arm): [
                pool.submit(run, kind, arm, seed, folder, options.steps) for seed in options.seeds
            ]
            for kind in options.data
            for arm in options.arms
        }
        done = {key: [item.result() for item in items] for key, items in jobs.items()}
    result = {
        kind: {
            arm: {
                "return": float(np.mean([item["return"] for item in done[kind, arm]])),
                "seeds": done[kind, arm],
            }
            for arm in options.arms
        }
        for kind in options.data
    }
    settings = {"data": DATA, "arms": ARMS, "policy": POLICY, "steps": options.steps}
    out = options.out or ROOT / "benchmarks/results/cartpole_preferences.json"
    write_result(out, "cartpole_preferences", about, {"settings": settings, "table": result})


if __name__ == "__main__":
    main()
