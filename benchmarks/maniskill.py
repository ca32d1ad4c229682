"""A reward beside ManiSkill's own dense reward, on episodes of mixed quality, and PPO on it.

    python -m benchmarks.maniskill [--task maniskill_pick_cube] [--reward RUN] [--episodes 96]

Episodes are collected on the CPU with fixed seeds by the scripted behaviour: some do the task, some
something else, some act at random, each with its own amount of noise. Every transition is scored by
the reward on the simulator's own tensors, as it is simulated. Spearman's correlation with
ManiSkill's dense reward is taken over all transitions and over the mean rewards of episodes; ties
share their mean rank. The dense reward is a reference here: nothing learns from it.

Then the training path is run for a few updates of PPO in the same environment, paid by the reward.
That it runs is what it shows: so few updates teach nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from benchmarks.common import machine, write_result
from embodied.environments import EnvConfig, make_environment, require_task
from embodied.files import read_json
from embodied.registry import resolve
from embodied.runs import read_metrics
from embodied.stages.labelled import DataConfig
from embodied.stages.train import TrainConfig, train
from embodied.types import Reward, RewardContext
from rewards.gate.correlation import mean_ranks
from sim.maniskill.behaviours import KINDS, ManiSkillScripted

TASKS = ("maniskill_pick_cube", "maniskill_push_cube")
ENVS = 16


def load_reward(task: str, run: Path | None, folder: Path) -> Reward:
    """Return the reward that a run made, or the expert's."""
    name, options = ("expert", {}) if run is None else ("saved", {"path": str(run)})
    reward: Reward = resolve("reward", name)(
        RewardContext(folder, require_task(task), None), **options
    )
    return reward


def collect(task: str, reward: Reward, episodes: int, seed: int) -> dict[str, Any]:
    """Return score and dense reward [E, T], success at the end [E] and the kind [E] of episodes."""
    env = make_environment(EnvConfig(task, num_envs=ENVS, device="cpu"))
    behaviour = ManiSkillScripted(env.task, ENVS, seed)
    found: dict[str, list[Any]] = {"score": [], "dense": [], "success": [], "kind": []}
    try:
        observation, info = env.reset(seed=seed)
        for _ in range(-(-episodes // ENVS)):
            scores, dense = [], []
            start = np.ones(ENVS, bool)
            while not scores or not start.any():
                action = behaviour.act(observation, info["state"], start)
                observation, own, _, start, info = env.step(action)
                scores.append(reward.score(env.transitions).total)
                dense.append(own)
            found["score"].append(torch.stack(scores, dim=1).numpy())
            found["dense"].append(np.stack(dense, axis=1))
            found["success"].append(info["final_info"]["success"])
            found["kind"].append(behaviour.kind)
    finally:
        env.close()
    return {name: np.concatenate(items) for name, items in found.items()}


def spearman(first: Any, second: Any) -> float:
    """Return Spearman's rank correlation of two arrays of the same size."""
    return float(np.corrcoef(mean_ranks(np.ravel(first)), mean_ranks(np.ravel(second)))[0, 1])


def correlations(data: dict[str, Any]) -> dict[str, Any]:
    """Return the correlations, and the shares of the kinds of episodes and of their success."""
    kinds = {name: data["kind"] == number for number, name in enumerate(KINDS)}
    return {
        "episodes": len(data["kind"]),
        "transitions": int(data["score"].size),
        "spearman_transitions": spearman(data["score"], data["dense"]),
        "spearman_episodes": spearman(data["score"].mean(axis=1), data["dense"].mean(axis=1)),
        "success": float(data["success"].mean()),
        "kinds": {
            name: {
                "share": float(chosen.mean()),
                "success": float(data["success"][chosen].mean()) if chosen.any() else None,
                "spearman_transitions": (
                    spearman(data["score"][chosen], data["dense"][chosen]) if chosen.any() else None
                ),
            }
            for name, chosen in kinds.items()
        },
    }


def trained(task: str, reward: dict[str, Any], updates: int) -> dict[str, Any]:
    """Run PPO for some updates through the public stage; return what it wrote of them."""
    rollout_steps = 256
    config = TrainConfig(
        env=EnvConfig(task, num_envs=8, device="cpu"),
        data=DataConfig(()),
        policy={"name": "ppo", "rollout_steps": rollout_steps},
        reward=reward,
        name=f"maniskill-{task.removeprefix('maniskill_')}",
        seeds=(0,),
        steps=updates * rollout_steps,
        log_every=rollout_steps,
        curve_every=0,
        evaluation_episodes=8,
        videos=False,
    )
    run = train(config)
    lines = [
        {key: value[0] if isinstance(value, list) else value for key, value in line.items()}
        for line in read_metrics(run)
    ]
    result = read_json(run.path / "result.json", ("success", "return", "wall_s"))
    return {
        "updates": updates,
        "environment_steps": config.steps,
        "wall_s": result["wall_s"],
        "success": result["success"]["mean"],
        "metrics": lines,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", choices=TASKS, default=TASKS[0])
    parser.add_argument("--reward", type=Path, help="run that made the reward; else the expert's")
    parser.add_argument("--episodes", type=int, default=96)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--updates", type=int, default=3, help="of PPO; 0 leaves the training out")
    parser.add_argument("--out", type=Path, help="benchmarks/results/<task>.json unless given")
    options = parser.parse_args(arguments)
    about = machine(("torch", "numpy", "gymnasium", "mani_skill", "sapien"))
    with TemporaryDirectory() as folder:
        reward = load_reward(options.task, options.reward, Path(folder))
    found = correlations(collect(options.task, reward, options.episodes, options.seed))
    for name in ("spearman_transitions", "spearman_episodes", "success"):
        print(f"{name:22} {found[name]:.3f}")
    chosen = {"name": "expert"}
    if options.reward is not None:
        chosen = {"name": "saved", "path": str(options.reward)}
    training = trained(options.task, chosen, options.updates) if options.updates else None
    result = {
        "task": options.task,
        "reward": reward.provenance(),
        "seed": options.seed,
        "correlation": found,
        "training": training,
    }
    out = options.out or Path(f"benchmarks/results/{options.task}.json")
    write_result(out, "maniskill", about, result)


if __name__ == "__main__":
    main()
