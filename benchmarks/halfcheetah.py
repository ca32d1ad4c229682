"""HalfCheetah: IQL beside behaviour cloning on the replay data of an SAC run of our own.

    embodied collect env=halfcheetah behaviour=sac_replay episodes=120 output=FOLDER
    python -m benchmarks.halfcheetah --data FOLDER [--steps 50000] [--seeds 5] [--out FILE]

Both are trained by ``embodied train`` on the reward that came with the data; the last checkpoint
counts, and every policy meets the same starts. IQL's hyper-parameters are those of its authors for
locomotion (arXiv 2110.06169, appendix B), which are the defaults of ``policies.iql.IQLConfig``;
none was tuned here. The reward is scaled to standard deviation 1 and the observations are
normalised, as ``train`` does by default. The behaviour is the data's own episodes: all of them, and
the last tenth, which SAC acted in when it had learnt most.

D4RL's normalised score is a note alone: its references belong to another version of the
environment, and these data are not D4RL's.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import machine, write_result
from benchmarks.learning import difference
from embodied.dataset import Dataset
from embodied.environments import EnvConfig
from embodied.files import read_json
from embodied.scores import comparability, normalised_score
from embodied.stages.labelled import OWN_REWARD, DataConfig
from embodied.stages.train import TrainConfig, train
from embodied.statistics import summary

ENVIRONMENT = EnvConfig("gymnasium", num_envs=4, id="HalfCheetah-v5")
ALGORITHMS = ("iql", "bc")  # with the defaults of their configs
LAST_SHARE = 0.1  # of the data's episodes


def behaviour(dataset: Dataset) -> dict[str, dict[str, Any]]:
    """Return the returns of the data's own episodes, all and the last."""
    returns = dataset.episode_returns()
    if returns is None:
        raise SystemExit(f"{dataset.folder} has no reward of its own; collect it again")
    last = max(1, round(LAST_SHARE * len(returns)))
    return {"all": summary([returns]), "last_tenth": summary([returns[-last:]])}


def trained(
    algorithm: str,
    data: Path,
    seeds: int,
    steps: int,
    episodes: int,
    environment: EnvConfig = ENVIRONMENT,
) -> dict[str, Any]:
    """Train and evaluate through the public stage; return the returns and where the run lies."""
    config = TrainConfig(
        env=environment,
        data=DataConfig((str(data.resolve()),), label=OWN_REWARD),
        policy={"name": algorithm},
        name=f"halfcheetah-{algorithm}",
        seeds=tuple(range(seeds)),
        steps=steps,
        controls=False,  # BC is trained on its own, and the true reward is the reward
        checkpoint_every=5_000,
        curve_every=0,
        evaluation_episodes=episodes,
        videos=False,
    )
    run = train(config)
    result = read_json(run.path / "result.json", ("return", "notes", "wall_s"))
    return {**result["return"], "training_s": result["wall_s"], "notes": result["notes"]}


def compare(arms: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """Return IQL beside BC, seed by seed, and whether its interval lies above all others."""
    per_seed = {name: [np.array([value]) for value in arms[name]["per_seed"]] for name in arms}
    low = arms["iql"]["ci95"][0]
    others = {"bc": arms["bc"], **{f"behaviour_{name}": item for name, item in data.items()}}
    return {
        "iql_minus_bc": difference(per_seed["iql"], per_seed["bc"]),
        "interval_of_iql_above_that_of": {
            name: low > item["ci95"][1] for name, item in others.items()
        },
        # SAC's last tenth is no bar: it is there to show how far the data went.
        "shown": all(low > others[name]["ci95"][1] for name in ("bc", "behaviour_all")),
    }


def scores(arms: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """Return D4RL's normalised score of every mean, with what has to be said about it."""
    means = {name: item["mean"] for name, item in arms.items()}
    means |= {f"behaviour_{name}": item["mean"] for name, item in data.items()}
    name = ENVIRONMENT.title
    found = {key: float(normalised_score(name, mean)) for key, mean in means.items()}
    return {"note": comparability(name), **found}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that collect made")
    parser.add_argument("--steps", type=int, default=50_000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--episodes", type=int, default=20, help="per policy")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/halfcheetah.json"))
    options = parser.parse_args(arguments)
    about = machine(("torch", "numpy", "mujoco", "gymnasium"))
    dataset = Dataset(options.data)
    data = behaviour(dataset)
    arms = {
        name: trained(name, options.data, options.seeds, options.steps, options.episodes)
        for name in ALGORITHMS
    }
    result = {
        "data": {
            "sha256": dataset.digest,
            "episodes": dataset.num_episodes,
            "transitions": len(dataset),
            "origin": dataset.info.origin,
        },
        "steps": options.steps,
        "evaluation_episodes": options.episodes,
        "behaviour": data,
        "arms": arms,
        "comparison": compare(arms, data),
        "d4rl_normalised": scores(arms, data),
    }
    for name, item in {**{f"behaviour, {k}": v for k, v in data.items()}, **arms}.items():
        print(f"{name:24} {item['mean']:8.0f} [{item['ci95'][0]:.0f}, {item['ci95'][1]:.0f}]")
    write_result(options.out, "halfcheetah", about, result)


if __name__ == "__main__":
    main()
