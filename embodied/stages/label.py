"""``embodied label``: apply a reward to a stored dataset in one vectorised pass."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from embodied.config import build
from embodied.dataset import Dataset
from embodied.environments import make_task
from embodied.errors import at_least
from embodied.formats import open_dataset
from embodied.labels import reward_folder, write_labels
from embodied.preferences import write_pairs
from embodied.progress import progress_bar
from embodied.stages.reward import make_reward
from embodied.types import Transitions


@dataclass(frozen=True)
class LabelConfig:
    """What ``label`` is asked for."""

    reward: dict[str, Any]  # short name and options of the reward
    provider: dict[str, Any]  # used when a language model has to be asked
    instruction: str | None = None  # the sentence; the task's own when null
    path: str | None = None  # of a hand-written reward or of a run with an accepted one
    label: str = "default"  # name of the label column
    check_transitions: int = 4096  # stored transitions that a new reward is tried on
    fields: dict[str, Any] = field(default_factory=dict)  # names for parts of the observation


def label(data: str | Path, config: LabelConfig) -> Path:
    """Label a dataset; its own files are only read.

    Raises:
        UserError: No such dataset, no acceptable reward, or a non-finite score.
    """
    at_least(2, {"check_transitions": config.check_transitions})
    dataset = open_dataset(data, config.fields)
    task = make_task(dataset.info.environment)
    options = dict(config.reward)
    if "instruction" in options and options["instruction"] is None and task is not None:
        options["instruction"] = task.instruction
    sample = check_sample(dataset, config.check_transitions)
    kept = reward_folder(dataset, config.label)
    making = kept.with_suffix(".making")
    # What lies behind an earlier label stays as it is until the new label is there.
    _remove(making)
    making.mkdir(parents=True)
    try:
        made = make_reward(options, config.provider, making, task, sample, dataset=dataset)
        with progress_bar(len(dataset), "label", " transitions") as bar:
            path = write_labels(dataset, config.label, made, bar.update)
        pairs = getattr(made, "pairs", None)
        if pairs is not None:  # what it was learnt from, for learners that need no reward
            write_pairs(dataset, config.label, pairs, made.provenance())
        _remove(kept)
        making.rename(kept)
    finally:
        for folder in (making, kept):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()  # a reward without code keeps nothing
    return path


def check_sample(dataset: Dataset, count: int) -> Transitions:
    """Return up to ``count`` stored transitions, the same ones each time, to try a reward on."""
    rng = np.random.default_rng(0)
    rows = rng.choice(len(dataset), min(count, len(dataset)), replace=False)
    return dataset.transitions(np.sort(rows))


def _remove(path: Path) -> None:
    """Remove a folder; of a link only the link itself, never what it leads to."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def run(data: str, values: dict[str, Any]) -> Path:
    """Entry of the command line."""
    path = label(data, build(LabelConfig, values))
    print(f"labels written to {path}")
    return path
