"""RL-VLM-F's online loop beside SAC on the true reward, counted from the random policy.

    python -m benchmarks.online_preferences cartpole

Both learn with the same SAC for the same steps. The score of a policy is its mean true reward; 0 %
is the random policy's, 100 % that of SAC on the true reward.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import sim
from benchmarks.common import ROOT, command, machine, write_result
from embodied.files import read_json
from embodied.registry import resolve
from embodied.rollout import rollout
from policies.package import load_package
from rewards.file import reference

SHARED = ("policy=sac", "env.num_envs=8", "threads=1", "videos=false", "controls=false")
LOOP = ("reward=rlvlmf_online", "reward.pairs=1000", "reward.pairs_per_session=100")
SETTINGS: Mapping[str, tuple[str, ...]] = {
    "cartpole": ("policy.hidden=[64,64]", "policy.learning_rate=0.001", "steps=16000"),
    "reach": ("policy.learning_rate=0.001", "policy.discount=0.95", "steps=30000"),
}
EXPLORE: Mapping[str, tuple[str, ...]] = {
    "cartpole": (
        "reward.explore_steps=2000",
        "reward.query_every=1000",
        "reward.recent_steps=4000",
    ),
    "reach": (
        "reward.explore_steps=4000",
        "reward.query_every=2000",
        "reward.recent_steps=6000",
    ),
}
EPISODES = 50


def train(task: str, arm: str, seed: int, folder: Path) -> dict[str, Any]:
    """Train one policy and return its score."""
    sources = {"oracle": "oracle", "embedded CLIP": "clip"}
    reward = ("reward=expert",)
    if arm in sources:
        reward = (*LOOP, *EXPLORE[task], f"reward.source={sources[arm]}", f"reward.look={seed + 1}")
    given = [f"env={task}", *SHARED, *SETTINGS[task], f"seeds=[{seed}]", "curve_every=0", *reward]
    run = command("train", given, folder / f"{arm.replace(' ', '-')}-{seed}", threads=1)
    policy = load_package(run / "policy" / str(seed))
    found = {"seed": seed, **score(task, lambda o, s, e: policy.predict(o, deterministic=True)[0])}
    diagnostics = run / "reward" / str(seed) / "diagnostics.json"
    if diagnostics.is_file():
        measured = read_json(diagnostics)["preferences"]
        names = ("asked", "label_accuracy", "true_pair_accuracy", "true_rank_correlation")
        found |= {name: measured[name] for name in names}
    print(f"{task}, {arm}, seed {seed}: {found}", flush=True)
    return found


def score(task: str, act: Any) -> dict[str, float]:
    """Return the mean expert reward of a step and the success over episodes."""
    env = sim.make(task, EPISODES)
    truth = reference(None, env.task)
    assert truth is not None
    rewards, successes = [], []
    for _, episode in rollout(env, act, 1, 1_000_000):
        rewards.append(truth.score(transitions(episode)).total.mean())
        successes.append(bool(episode.columns["success"][-1]))
    env.close()
    return {"reward": float(np.mean(rewards)), "success": float(np.mean(successes))}


def transitions(episode: Any) -> Any:
    from embodied.episodes import concatenate

    return concatenate([episode])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("task", choices=list(SETTINGS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", default=["oracle", "embedded CLIP"])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    about = machine(("torch", "stable-baselines3", "open_clip_torch", "numpy"))
    env = sim.make(options.task, EPISODES)
    behaviour = resolve("behaviour", "random")(env.task, EPISODES, 0)
    env.close()
    random = score(options.task, behaviour.act)
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(options.jobs) as pool:
        folder = Path(temporary).resolve()
        jobs = {
            arm: [pool.submit(train, options.task, arm, seed, folder) for seed in options.seeds]
            for arm in ("true reward", *options.arms)
        }
        done = {arm: [item.result() for item in items] for arm, items in jobs.items()}
    means = {arm: float(np.mean([item["reward"] for item in items])) for arm, items in done.items()}
    span = means["true reward"] - random["reward"]
    result = {
        "task": options.task,
        "settings": [*SHARED, *SETTINGS[options.task], *LOOP, *EXPLORE[options.task]],
        "random": random,
        "reward": means,
        "share_of_sac": {arm: (mean - random["reward"]) / span for arm, mean in means.items()},
        "seeds": done,
    }
    out = options.out or ROOT / f"benchmarks/results/online_preferences_{options.task}.json"
    write_result(out, "online_preferences", about, result)


if __name__ == "__main__":
    main()
