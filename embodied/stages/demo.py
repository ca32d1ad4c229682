"""``embodied demo``: the whole path, from the sentence to a guarded episode and a report."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from embodied.config import build, load
from embodied.engine.precision import faster_mode
from embodied.errors import UserError, at_least
from embodied.files import read_json, write_json
from embodied.registry import names
from embodied.results import table
from embodied.runs import RunFolder, numbered
from embodied.stages import collect, deploy, label, train
from embodied.stages import reward as reward_stage

CONFIG = "demo.json"  # in the run folder: what the demo was asked for


@dataclass(frozen=True)
class DemoConfig:
    """What ``demo`` is asked for."""

    instruction: str  # the sentence; it needs a recorded reply
    task: str  # the environment
    seeds: tuple[int, ...]  # training seeds; each gets its own dataset
    episodes: int  # episodes of each dataset
    steps: int  # updates
    evaluation_episodes: int  # per training seed and arm
    matmul_precision: str  # float32, bf16, or auto: the faster one on this processor
    videos: bool  # film a success and a failure


class Stopwatch:
    """Says which step runs and keeps how long each took."""

    def __init__(self, total: int) -> None:
        self.seconds: dict[str, float] = {}
        self._total = total

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Time one step and announce it."""
        print(f"[{len(self.seconds) + 1}/{self._total}] {title}", flush=True)
        started = time.monotonic()
        yield
        self.seconds[title] = round(time.monotonic() - started, 2)


def demo(config: DemoConfig, run: RunFolder | None = None) -> RunFolder:
    """Run every stage as a user would, one after the other; what ``run`` has already is kept.

    Raises:
        UserError: No recorded reply for the instruction, or an unknown task.
    """
    if config.task not in names("task"):
        raise UserError(f"unknown task {config.task!r}; known: {', '.join(names('task'))}")
    if not config.seeds:
        raise UserError("seeds is []; give at least one")
    at_least(1, {key: getattr(config, key) for key in ("episodes", "steps", "evaluation_episodes")})
    run = run or RunFolder.create("demo")
    write_json(run.path / CONFIG, asdict(config))
    watch = Stopwatch(5)
    with watch.step(f"reward for: {config.instruction}"):
        if not (run.path / "reward" / "provenance.json").is_file():
            values = load("reward", [f"env={config.task}"]) | {"instruction": config.instruction}
            reward_stage.reward(build(reward_stage.RewardConfig, values), run)
    folders = [run.path / "data" / str(seed) for seed in config.seeds]
    with watch.step(f"collect {len(folders)} unlabelled datasets"):
        for seed, folder in zip(config.seeds, folders, strict=True):
            if not folder.exists():
                values = load("collect", [f"env={config.task}"], output=str(folder))
                collect.run(values | {"episodes": config.episodes, "seed": seed})
    with watch.step("label them with the reward"):
        if not train.is_resumable(run):
            for folder in folders:
                values = load("label", ["reward=saved"], path=str(run.path))
                label.label(folder, build(label.LabelConfig, values))
    with watch.step("train the policy and its controls, and evaluate the last checkpoint"):
        train.train(train_config(config, folders), run)
    with watch.step("deploy one guarded episode on the simulated arm"):
        values = load("deploy", [f"policy_seed={config.seeds[0]}"])
        episode = deploy.deploy(run, build(deploy.DeployConfig, values))
    write_json(run.path / "timings.json", watch.seconds)
    report(run, episode)
    return run


def train_config(config: DemoConfig, folders: list[Path]) -> train.TrainConfig:
    """Return the training config: ``configs/train.yaml`` with the demo's sizes."""
    precision = config.matmul_precision
    if precision == "auto":
        precision = faster_mode()
    values = load("train", [f"env={config.task}"], **{"data.paths": []})
    values["data"]["paths"] = [str(folder.resolve()) for folder in folders]
    values |= {
        "name": "demo",
        "seeds": list(config.seeds),
        "steps": config.steps,
        "evaluation_episodes": config.evaluation_episodes,
        "matmul_precision": precision,
        "videos": config.videos,
    }
    return build(train.TrainConfig, values)


def report(run: RunFolder, episode: Path) -> None:
    """Print what came out and where it lies."""
    deployed = read_json(episode / "result.json")
    filmed = read_json(numbered(run.path / "evaluations")[-1] / "videos.json")
    print()
    print(table(read_json(run.path / "result.json")))
    print(f"\nguarded episode: {deploy.summary(deployed)}")
    if filmed["missing"]:
        print(filmed["missing"])
    print(f"report: {run.path / 'report.html'}")


def run(values: dict[str, Any]) -> RunFolder:
    """Entry of the command line."""
    return resumable(build(DemoConfig, values), RunFolder.create("demo"))


def resume(path: str) -> RunFolder:
    """Entry of the command line for ``resume=RUN``.

    Raises:
        UserError: The folder is not of a demo.
    """
    folder = RunFolder(Path(path))
    return resumable(build(DemoConfig, read_json(folder.path / CONFIG)), folder)


def resumable(config: DemoConfig, folder: RunFolder) -> RunFolder:
    """Run the demo; after Ctrl-C say how to go on."""
    try:
        return demo(config, folder)
    except KeyboardInterrupt:
        print(f"go on with: embodied demo resume={folder.path}")
        raise
