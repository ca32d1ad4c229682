"""``embodied train``: offline training of a policy and its controls, resumable at any moment."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from embodied.config import build
from embodied.dataset import Dataset
from embodied.engine.devices import check_device
from embodied.engine.precision import describe_products, set_matmul_precision
from embodied.engine.random import MAX_UPDATES
from embodied.environments import EnvConfig
from embodied.episodes import outcome_arrays
from embodied.errors import UserError, at_least
from embodied.files import read_json, sha256_bytes, write_json
from embodied.interrupts import stop_on_interrupt
from embodied.progress import progress_bar
from embodied.registry import resolve
from embodied.results import table
from embodied.runs import MetricsLog, RunFolder
from embodied.stages.arms import Group, make_groups, restore, reward_columns, save
from embodied.stages.divergence import Divergence, without_nan
from embodied.stages.evaluate import EvaluateConfig, evaluate, evaluate_policies
from embodied.stages.export import behaviour_outcomes, export, keep_reward
from embodied.stages.labelled import OWN_REWARD, DataConfig, open_labelled
from embodied.stages.pair_arms import make_pair_groups, open_pairs

# Updates between two looks at Ctrl-C and at the schedule of logs. On a GPU they are many CUDA
# graphs, so that data that are streamed there are fetched ahead.
BLOCK, CUDA_BLOCK = 64, 1024
CURVE_SEED_OFFSET = 500_000  # keeps the curve's starts apart from the final evaluation's

# What gives the learning curve's numbers: <arm>/<metric>, one per training seed.
Curve = dict[str, list[float | None]]
Measure = Callable[["TrainConfig", list[Group], Divergence], Curve]


@dataclass(frozen=True)
class TrainConfig:
    """What ``train`` is asked for."""

    env: EnvConfig  # where the policy is evaluated
    data: DataConfig  # the labelled datasets
    policy: dict[str, Any]  # short name and hyper-parameters of the algorithm
    name: str = "train"  # part of the run folder's name
    seeds: tuple[int, ...] = (0, 1, 2)  # training seeds, all trained at once
    steps: int = 10_000  # updates
    controls: bool = True  # also train BC, constant reward and true reward
    standardise_reward: bool = True  # std 1 per dataset; mean 0 too where nothing terminates
    matmul_precision: str = "float32"  # or bf16: faster products where the processor has them
    device: str = "cpu"  # or cuda
    threads: int | None = None  # CPU threads; every core when null
    compile: bool = False  # torch.compile the update: slow to start, then faster
    log_every: int = 250  # updates between two lines of metrics
    checkpoint_every: int = 1000  # updates between two checkpoints
    curve_every: int = 1000  # updates between two evaluations for the learning curve; 0 for none
    curve_episodes: int = 32  # episodes of such an evaluation, per network
    evaluation_episodes: int = 100  # episodes of the final evaluation, per network
    evaluation_seed: int = 1_000_000  # of the evaluation's starts, the same for every network
    videos: bool = True  # film a success and a failure
    tensorboard: bool = False  # also write TensorBoard files
    reward: dict[str, Any] | None = None  # online: in place of the environment's own reward
    path: str | None = None  # of the reward's file or run (reward=file, reward=saved)
    instruction: str | None = None  # what a reward that is learnt is for; the task's own when null


def train(config: TrainConfig, run: RunFolder | None = None) -> RunFolder:
    """Train, evaluate the last checkpoint and report.

    ``run`` is the folder to train in, a new one when None; a training that it holds already is
    continued from its newest checkpoint.

    Raises:
        UserError: Data that is missing, damaged, unlabelled or of another environment.
        KeyboardInterrupt: After Ctrl-C, once the checkpoint is written.
    """
    check(config)
    torch.set_num_threads(config.threads or torch.get_num_threads())
    set_matmul_precision(config.matmul_precision)
    if learns_online(config):
        from embodied.stages.online import train_online  # it imports this module

        return train_online(config, run)
    datasets, reward, groups = prepare(config)
    if run is None:
        run = RunFolder.create(config.name)
    inputs = manifest(config, datasets, reward)
    if is_resumable(run):
        check_inputs(run, inputs)
    else:
        keep_reward(run, datasets[0], config.data.label, reward)
        run.describe({"command": "train", **asdict(config)}, inputs)
    try:
        wall_s, diverged = fit(config, run, groups)
    except KeyboardInterrupt:
        print(f"go on with: embodied train resume={run.path}")
        raise
    export(run, groups, datasets, config.env, config.seeds, config.steps, diverged)
    write_json(run.path / "behaviour.json", behaviour_outcomes(datasets))
    evaluate(
        run,
        EvaluateConfig(config.evaluation_episodes, config.evaluation_seed, config.videos),
        wall_s=wall_s,
    )
    return run


def prepare(config: TrainConfig) -> tuple[list[Dataset], dict[str, Any], list[Group]]:
    """Return the datasets, where their labels came from, and the learners of every arm."""
    name, data = str(config.policy.get("name")), config.data
    shared: dict[str, Any] = {
        "controls": config.controls,
        "seeds": config.seeds,
        "steps": config.steps,
        "device": config.device,
        "compiled": config.compile,
    }
    if getattr(resolve("policy", name), "learns_from", "rewards") == "pairs":
        datasets, pairs, told = open_pairs(data, config.env, config.seeds)
        return datasets, told, make_pair_groups(config.policy, datasets, pairs, **shared)
    datasets, labels, reward = open_labelled(data, config.env, config.seeds)
    columns = reward_columns(
        datasets,
        labels,
        controls=config.controls,
        scaled=config.standardise_reward,
        own=data.label == OWN_REWARD,
    )
    return datasets, reward, make_groups(config.policy, datasets, columns, **shared)


def learns_online(config: TrainConfig) -> bool:
    """Return whether the policy learns in its environment, without data."""
    return bool(getattr(resolve("policy", str(config.policy.get("name"))), "online", False))


def check(config: TrainConfig) -> None:
    """Refuse settings that cannot work, before anything is written."""
    if config.reward is not None and not learns_online(config):
        raise UserError(
            "offline training learns from labels: give them with embodied label DATA reward=..., "
            "and leave reward= out"
        )
    check_device(config.device)
    if config.steps > MAX_UPDATES or max(config.seeds, default=0) >= 2**63:
        raise UserError("steps go up to 2^27 and seeds below 2^63; choose smaller ones")
    if config.device != "cpu" and config.matmul_precision != "float32":
        raise UserError("matmul_precision is a setting of the CPU; leave it out with device=cuda")
    keys = ("steps", "threads", "log_every", "checkpoint_every", "curve_episodes")
    at_least(1, {key: getattr(config, key) for key in (*keys, "evaluation_episodes")})
    at_least(0, {key: getattr(config, key) for key in ("curve_every", "evaluation_seed")})
    at_least(0, {"seeds": min(config.seeds, default=0)})
    if not config.seeds or len(set(config.seeds)) != len(config.seeds):
        raise UserError(f"seeds is {list(config.seeds)}; give at least one, none of them twice")


def manifest(
    config: TrainConfig, datasets: list[Dataset], reward: dict[str, Any]
) -> dict[str, Any]:
    """Return what a run folder remembers of its inputs."""
    return {
        "command": "train",
        "device": config.device,
        "matmul_precision": config.matmul_precision,
        "products": describe_products(config.matmul_precision),
        "gpu": torch.cuda.get_device_name(config.device) if config.device != "cpu" else None,
        "per_seed": {
            key: list(value)
            for key, value in config.policy.items()
            if key != "hidden" and isinstance(value, list | tuple)
        },
        "torch_threads": torch.get_num_threads(),
        "data": [{"path": str(d.folder.resolve()), "sha256": d.digest} for d in datasets],
        "reward": reward,
        "reward_sha256": sha256_bytes(repr(sorted(reward.items())).encode()),
    }


def is_resumable(run: RunFolder) -> bool:
    """Return whether the run's config and manifest are those of a training."""
    return (run.path / "manifest.json").is_file() and run.manifest.get("command") == "train"


def check_inputs(run: RunFolder, inputs: dict[str, Any]) -> None:
    """Refuse to go on with other data or another reward than the run began with."""
    for key in ("data", "reward_sha256"):
        if run.manifest.get(key) != inputs[key]:
            raise UserError(
                f"the {key.partition('_')[0]} of {run.path} changed since it began; "
                "put it back as it was, or train again"
            )


def fit(
    config: TrainConfig, run: RunFolder, groups: list[Group], measure: Measure | None = None
) -> tuple[float, Divergence]:
    """Train every group to ``config.steps``, from the newest checkpoint.

    ``measure`` gives the learning curve's numbers, ``curves`` when None. Returns the seconds that
    it took in all, and which networks diverged.
    """
    step, wall_s = restore(run, groups)
    diverged = Divergence(run, config.seeds, resumed_at=step)
    log = MetricsLog(run, keep_until_step=step, tensorboard=config.tensorboard)
    started = time.monotonic() - wall_s
    block = BLOCK if config.device == "cpu" else CUDA_BLOCK
    with stop_on_interrupt() as stop, progress_bar(config.steps, "train", " updates") as bar:
        bar.update(step)
        while step < config.steps:
            before, step = step, min(step + block, config.steps)
            metrics: dict[str, Any] = {}
            for group in groups:
                measured = group.learner.update(group.data, step - before)
                metrics |= group.per_arm(measured, len(config.seeds))
            bar.update(step - before)
            diverged.note(metrics, step)

            def due(every: int, before: int = before, step: int = step) -> bool:
                return every > 0 and (step // every > before // every or step == config.steps)

            if due(config.curve_every) or step == config.steps:
                for group in groups:
                    diverged.note(group.soundness(len(config.seeds)), step)
            if due(config.log_every) or due(config.curve_every):
                line: dict[str, Any] = {
                    "step": step,
                    "wall_s": time.monotonic() - started,
                    **metrics,
                }
                if due(config.curve_every):
                    line |= (measure or curves)(config, groups, diverged)
                log.write(without_nan(line))
            if due(config.checkpoint_every) or stop.asked:
                save(run, step, groups, time.monotonic() - started)
            if stop.asked:
                print(f"stopped at update {step} of {run.path}")
                raise KeyboardInterrupt
    return time.monotonic() - started, diverged


def curves(config: TrainConfig, groups: list[Group], diverged: Divergence) -> Curve:
    """Return ``<arm>/evaluation/success`` (or ``return``), one number per training seed."""
    policies = [item for group in groups for item in group.policies(config.seeds, diverged)]
    found = evaluate_policies(
        config.env,
        [policy for _, _, policy in policies],
        config.curve_episodes,
        config.evaluation_seed + CURVE_SEED_OFFSET,
    )
    measured: Curve = {}
    for (arm, seed, _), episodes in zip(policies, found, strict=True):
        outcome = outcome_arrays(episodes)
        kind = "return" if outcome["success"] is None else "success"
        row = measured.setdefault(f"{arm}/evaluation/{kind}", [None] * len(config.seeds))
        row[config.seeds.index(seed)] = float(outcome[kind].mean())
    return measured


def resume(path: str) -> RunFolder:
    """Continue a run from its newest checkpoint, or from the start when it has none."""
    run = RunFolder.open(path)
    command, values = run.config()
    if command != "train":
        raise UserError(f"{run.path} holds no training to go on with; it was made by {command!r}")
    return train(build(TrainConfig, values), run)


def run(values: dict[str, Any]) -> RunFolder:
    """Entry of the command line."""
    config = build(TrainConfig, values)
    # A run is continued from anywhere, so it remembers where its data are.
    paths = tuple(str(Path(item).resolve()) for item in config.data.paths)
    return show(train(replace(config, data=replace(config.data, paths=paths))))


def resume_run(path: str) -> RunFolder:
    """Entry of the command line for ``resume=RUN``."""
    return show(resume(path))


def show(made: RunFolder) -> RunFolder:
    """Print the table and where everything is."""
    print(table(read_json(made.path / "result.json")))
    print(f"{made.path}: report.html, result.json, policy/")
    return made
