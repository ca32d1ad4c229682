"""The candidates of a round of reflection where a policy learns online: a run each, in turn.

A finished candidate is not trained again. Its own evaluation is the selection: it meets the starts
that neither the learning curves nor the loop's final evaluation use.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from embodied.files import read_json
from embodied.runs import RunFolder, read_metrics
from embodied.stages import train
from embodied.stages.loop import Loop

PREFIX = "policy/"  # of the keys in a candidate's metrics


def compare(
    loop: Loop, folder: Path, arms: Mapping[str, Path], points: int, seed_offset: int
) -> dict[str, dict[str, Any]]:
    """Train a run per arm and return the success and return of each on the selection.

    Args:
        loop: The loop.
        folder: Holds a run folder per arm.
        arms: Reward folder of every arm.
        points: Of the learning curves.
        seed_offset: Between the starts of the final evaluation and those of the selection.

    Raises:
        SpentError: The wall time was used up before the training ended.
    """
    assert loop.training is not None
    every = max(1, -(-loop.training.steps // points))
    found = {}
    for arm, reward in arms.items():
        loop.spending.check_time()
        run = RunFolder(folder / arm)
        if not (run.path / "result.json").is_file():
            shutil.rmtree(run.path, ignore_errors=True)  # online training has no resume
            run.path.mkdir(parents=True)
            print(f"training {arm} with {len(loop.training.seeds)} seeds", flush=True)
            config = replace(
                loop.training,
                reward={"name": "saved", "path": str(reward.parent)},
                path=None,
                log_every=every,
                curve_every=every,
                evaluation_seed=loop.training.evaluation_seed + seed_offset,
                videos=False,
            )
            train.train(config, run)
        result = read_json(run.path / "result.json")
        found[arm] = {key: result[key] for key in ("success", "return")}
    return found


def curves(run: RunFolder) -> dict[str, list[Any]]:
    """Return a candidate's learning curves: the steps, the outcome and the terms, by seed.

    The keys are those that offline candidates have: ``evaluation/<name>`` and ``terms/<name>``.
    """
    found: dict[str, list[Any]] = {"steps": []}
    lines = [line for line in read_metrics(run) if any("evaluation/" in key for key in line)]
    for place, line in enumerate(lines):
        found["steps"].append(line["step"])
        for key, value in line.items():
            name = key.removeprefix(PREFIX).replace("reward/", "terms/")
            if key.startswith(PREFIX) and not name.startswith("episode/"):
                row = found.setdefault(name, [None] * len(lines))
                row[place] = value
    return found
