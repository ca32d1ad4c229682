"""``embodied evaluate``: rollouts of policy packages, statistics, videos and the report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embodied.config import build
from embodied.dataset import Episode
from embodied.environments import EnvConfig, environment_from_json, make_environment, make_task
from embodied.episodes import concatenate
from embodied.errors import UserError, at_least
from embodied.files import read_json, write_json, write_text
from embodied.registry import resolve
from embodied.results import CONTROLS, describe, outcomes_of, table
from embodied.rollout import rollout
from embodied.rounds import begun, read_rounds, root_of
from embodied.runs import RunFolder, numbered, read_metrics
from embodied.stages.film import film_both
from embodied.types import RewardContext


@dataclass(frozen=True)
class EvaluateConfig:
    """How a run is evaluated."""

    episodes: int = 100  # per policy package
    seed: int = 2_000_000  # of the starts, the same for every package
    videos: bool = True  # film a success and a failure


def evaluate(run: RunFolder, config: EvaluateConfig, wall_s: float | None = None) -> Path:
    """Evaluate every package of a run; return ``evaluations/<n>``.

    The run's own ``result.json`` and ``report.html`` are those of its newest evaluation.

    Raises:
        UserError: The run has no packages.
    """
    at_least(1, {"episodes": config.episodes})
    at_least(0, {"seed": config.seed})
    packages = find_packages(run)
    env = environment_from_json(packages["policy"][0].description["environment"])
    episodes = {
        arm: evaluate_policies(env, policies, config.episodes, config.seed)
        for arm, policies in packages.items()
    }
    outcomes = {arm: outcomes_of(items) for arm, items in episodes.items()}
    result = describe(run, packages, outcomes, config.episodes, config.seed, wall_s)
    folder = run.next_folder("evaluations")
    filmed = {"videos": {}, "missing": "videos are switched off"}
    if config.videos:
        filmed = film_both(env, packages["policy"], episodes["policy"], config.seed, folder)
    write_json(folder / "result.json", result)
    write_json(folder / "episode.json", reward_over_episode(run, env.title, episodes["policy"]))
    write_json(folder / "videos.json", filmed)  # last: with it the folder can be reported on
    write_json(run.path / "result.json", result)
    write_report(run, folder)
    return folder


def find_packages(run: RunFolder) -> dict[str, list[Any]]:
    """Load every policy package of a run by arm, in the order of the training seeds."""
    load = resolve("package", "load")
    places = {"policy": run.path / "policy"}
    places |= {arm: run.path / "controls" / arm for arm in CONTROLS}
    found = {
        arm: [load(item) for item in numbered(place)]
        for arm, place in places.items()
        if place.is_dir()
    }
    if not found.get("policy"):
        raise UserError(
            f"{run.path} has no policy yet; finish it with: embodied train resume={run.path}"
        )
    return found


def evaluate_policies(
    env_config: EnvConfig, policies: Sequence[Any], episodes: int, seed: int
) -> list[list[Episode]]:
    """Return the episodes of each policy, all stepped in one vector environment.

    Every policy meets the same starts: sub-environment ``i`` of each is seeded ``seed + i``.
    Episodes are counted by sub-environment: taking those that end first would favour short ones.
    """
    native = env_config.id is None
    each = episodes if native else min(episodes, env_config.num_envs)
    env = make_environment(env_config, each * len(policies))
    seeds = [seed + i for i in range(each)] * len(policies)

    def act(observation: Any, state: Any, start: Any) -> Any:
        parts = np.split(observation, len(policies))
        return np.concatenate(
            [
                policy.predict(part, deterministic=True)[0]
                for policy, part in zip(policies, parts, strict=True)
            ]
        )

    by_place: list[list[Episode]] = [[] for _ in seeds]
    try:
        for index, episode in rollout(env, act, -(-episodes // each), seeds):
            by_place[index].append(episode)
    finally:
        env.close()
    # The first episode of every sub-environment, then the second of every one.
    found = [by_place[i * each : (i + 1) * each] for i in range(len(policies))]
    return [
        [episode for turn in zip(*places, strict=True) for episode in turn][:episodes]
        for places in found
    ]


def reward_over_episode(
    run: RunFolder, task_name: str, episodes: list[list[Episode]]
) -> dict[str, Any]:
    """Return the reward's total and terms at every step of one episode of the first seed.

    ``means`` are those of each term over all evaluation episodes.
    """
    folder, task = run.path / "reward", make_task(task_name)
    if task is None or not (folder / "reward.py").is_file():
        return {}
    reward = resolve("reward", "saved")(RewardContext(folder, task, None, None), path=str(run.path))
    score = reward.score(concatenate(episodes[0][:1]))
    every = reward.score(concatenate([item for items in episodes for item in items])).terms
    return {
        "means": {key: float(np.mean(value)) for key, value in every.items()},
        "total": [float(item) for item in score.total],
        "terms": {key: [float(item) for item in value] for key, value in score.terms.items()},
        "caption": "Terms of the reward over the first evaluation episode of the first seed.",
    }


def refresh_report(run: RunFolder) -> None:
    """Write the newest evaluation's report again, for what has come since."""
    folders = [p for p in numbered(run.path / "evaluations") if (p / "videos.json").is_file()]
    if folders:
        write_report(run, folders[-1])


def write_report(run: RunFolder, folder: Path) -> None:
    """Write ``report.html`` of an evaluation, and the same page at the top of the run."""
    from embodied.report import ReportContent, build_report

    filmed = read_json(folder / "videos.json", ("videos", "missing"))
    episode = read_json(folder / "episode.json")
    code = run.path / "reward" / "reward.py"
    deployments = [p / "result.json" for p in numbered(run.path / "deployments")]
    told = [path for path in deployments if path.is_file()]
    root = root_of(run.path)
    content = ReportContent(
        result=read_json(folder / "result.json"),
        metrics=read_metrics(run),
        reward_source=code.read_text(encoding="utf-8") if code.is_file() else None,
        terms=episode.get("terms"),
        total=episode.get("total"),
        terms_caption=episode.get("caption", ""),
        videos={key: folder / name for key, name in filmed["videos"].items()},
        missing_videos=filmed["missing"],
        deployment=read_json(told[-1]) if told else None,
        manifest=run.manifest,
        rounds=read_rounds(root) if begun(root) else (),
    )
    build_report(folder / "report.html", content)
    page = (folder / "report.html").read_text(encoding="utf-8")
    write_text(run.path / "report.html", page)


def run(path: str, values: dict[str, Any]) -> Path:
    """Entry of the command line."""
    started = time.monotonic()
    folder = evaluate(RunFolder.open(path), build(EvaluateConfig, values))
    print(table(read_json(folder / "result.json")))
    print(f"{folder / 'report.html'} ({time.monotonic() - started:.0f} s)")
    return folder
