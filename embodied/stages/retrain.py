"""A run's training, repeated with the program of a round, in the folder of that round."""

from __future__ import annotations

import shutil
from dataclasses import replace

from embodied.config import build, load
from embodied.rounds import REQUEST, SELECTION
from embodied.runs import RunFolder
from embodied.stages import label, train
from embodied.stages.reflect import CANDIDATES, SAMPLES
from embodied.stages.spending import SPENT

# What a round has before its training.
KEPT = (REQUEST, SPENT, SELECTION, CANDIDATES, SAMPLES, "reward")


def retrain(run: RunFolder, training: train.TrainConfig) -> None:
    """Train, evaluate and report with a round's program, unless that is finished.

    Args:
        run: The folder of the round, which holds ``reward/``.
        training: The settings; its label or reward gives way to the program.
    """
    if (run.path / "result.json").is_file():
        return
    print(f"round {run.path.name}: training with the new program", flush=True)
    if training.data.paths:
        # An evaluation that a kill cut short is done again, in its own place.
        shutil.rmtree(run.path / "evaluations", ignore_errors=True)
        train.train(labelled(run, training), run)
        return
    # Online training has no resume: what a kill left of it goes.
    for item in run.path.iterdir():
        if item.name not in KEPT:
            shutil.rmtree(item) if item.is_dir() else item.unlink()
    train.train(replace(training, reward={"name": "saved", "path": str(run.path)}, path=None), run)


def labelled(run: RunFolder, training: train.TrainConfig) -> train.TrainConfig:
    """Label the datasets with a round's program, unless its training began; return its config."""
    name = label_name(run)
    if not train.is_resumable(run):
        for path in training.data.paths:
            values = load("label", ["reward=saved"], path=str(run.path))
            values |= {"label": name, "fields": training.data.fields}
            label.label(path, build(label.LabelConfig, values))
    return replace(training, data=replace(training.data, label=name))


def label_name(run: RunFolder) -> str:
    """Return the label of a round's program on the datasets: its run's name and its number."""
    name = f"{run.path.parent.parent.name}-round{run.path.name}"
    return "".join(item if item.isalnum() and item.isascii() else "-" for item in name)[-64:]
