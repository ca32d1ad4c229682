"""A generated reward beside our own: the same data, the same training, two columns of labels.

    python -m benchmarks.generated push [--seeds 5] [--steps 8000] [--episodes 3000] [--threads 1]
                                        [--folder DIR] [--out FILE]

Every training seed gets its own dataset of the scripted mixture. It is labelled twice: with the
recorded reply to the task's own sentence and with the reward that we wrote by hand
(``reward=expert``). IQL is trained on either, with the settings of ``configs/train.yaml``, and the
last checkpoints are compared on the same starts. The ratio's interval is a bootstrap over training
seeds.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import machine, write_result
from embodied.config import build, load
from embodied.files import read_json
from embodied.stages import collect, label, train

REWARDS = {"generated": "text2reward", "expert": "expert"}
RESAMPLES, RESAMPLING_SEED = 10_000, 0
WANTED = 0.9  # of the success on the reward that we wrote


def make_data(task: str, seeds: Sequence[int], episodes: int, folder: Path) -> list[Path]:
    """Collect a dataset per seed and label it with every reward."""
    folders = [folder / f"{task}-{seed}" for seed in seeds]
    for seed, data in zip(seeds, folders, strict=True):
        values = load("collect", [f"env={task}"], output=str(data))
        collect.run(values | {"episodes": episodes, "seed": seed})
        for name, reward in REWARDS.items():
            values = load("label", [f"reward={reward}"], label=name)
            label.label(data, build(label.LabelConfig, values))
    return folders


def train_on(
    task: str, name: str, folders: Sequence[Path], options: argparse.Namespace
) -> dict[str, Any]:
    """Train every seed on one column of labels; return the run's result."""
    values = load("train", [f"env={task}"], **{"data.paths": []})
    values["data"] |= {"paths": [str(folder.resolve()) for folder in folders], "label": name}
    values |= {
        "name": f"{task}-{name}",
        "seeds": list(range(options.seeds)),
        "steps": options.steps,
        "threads": options.threads,
        "controls": False,
        "curve_every": 0,
        "videos": False,
    }
    run = train.train(build(train.TrainConfig, values))
    return read_json(run.path / "result.json")


def ratio(generated: Mapping[str, Any], expert: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ratio of mean successes with a bootstrap interval over training seeds."""
    ours, own = (np.asarray(item["success"]["per_seed"]) for item in (generated, expert))
    rng = np.random.default_rng(RESAMPLING_SEED)
    drawn = rng.integers(0, len(ours), (RESAMPLES, len(ours)))
    # Paired: a seed has the same data in both.
    ratios = ours[drawn].mean(1) / np.maximum(own[drawn].mean(1), 1e-9)
    low, high = np.percentile(ratios, (2.5, 97.5))
    return {"mean": float(ours.mean() / own.mean()), "ci95": [float(low), float(high)]}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", help="a task with a scripted behaviour and a recorded reply")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=8_000)
    parser.add_argument("--episodes", type=int, default=3_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="keep the datasets here")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    about = machine(("torch", "numpy", "mujoco"))
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folders = make_data(options.task, range(options.seeds), options.episodes, folder)
        found = {name: train_on(options.task, name, folders, options) for name in REWARDS}
    arms = {name: {key: item[key] for key in ("success", "return")} for name, item in found.items()}
    behaviour = found["generated"]["controls"].get("behaviour")
    compared = ratio(found["generated"], found["expert"])
    for name, item in arms.items():
        low, high = item["success"]["ci95"]
        print(f"{name:10} success {item['success']['mean']:.2f} [{low:.2f}, {high:.2f}]")
    print(f"generated / expert: {compared['mean']:.2f} {compared['ci95']}, wanted {WANTED}")
    out = options.out or Path(f"benchmarks/results/generated_{options.task}.json")
    settings = {key: getattr(options, key) for key in ("task", "seeds", "steps", "episodes")}
    result = {"behaviour": behaviour, **arms, "ratio": compared, "wanted": WANTED}
    write_result(out, "generated", about, settings | result)


if __name__ == "__main__":
    main()
