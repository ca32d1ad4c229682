"""Online training: a policy that learns in its environment, from its own reward or any other.

The seeds are trained one after another. What stable-baselines3 would store of a training are
pickles, which nothing here reads, so a stopped run keeps its policy but cannot be gone on with.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from json import dumps
from typing import Any

import numpy as np

from embodied.engine.data import Normaliser
from embodied.environments import describe_action, make_environment, make_task, require_task
from embodied.episodes import outcome_arrays
from embodied.errors import UserError
from embodied.files import write_json, write_text
from embodied.interrupts import StopRequest, stop_on_interrupt
from embodied.progress import progress_bar
from embodied.registry import resolve
from embodied.runs import MetricsLog, RunFolder, read_metrics
from embodied.stages.evaluate import EvaluateConfig, evaluate, evaluate_policies
from embodied.stages.export import package_folder, write_package
from embodied.stages.learning_reward import LearningReward, following
from embodied.stages.reward import make_reward, sample_transitions
from embodied.stages.rewarded import RewardedEnv
from embodied.stages.settings import action_bounds, algorithm_config
from embodied.stages.train import CURVE_SEED_OFFSET, TrainConfig, is_resumable, manifest
from embodied.types import Field, Reward

CHECK_EPISODES = 64  # that a reward is tried on before a policy learns from it
Finished = Sequence[tuple[float, bool | None]]  # return and success of episodes that ended


def train_online(config: TrainConfig, run: RunFolder | None = None) -> RunFolder:
    """Train every seed online, evaluate and report.

    Raises:
        UserError: A run that began already, data where none is read, or settings that cannot work.
        KeyboardInterrupt: After Ctrl-C, once the policy that was learnt so far is written.
    """
    if run is not None and is_resumable(run):
        raise UserError(
            f"{run.path} was trained online and cannot be resumed; evaluate what it holds, or "
            "train again"
        )
    if config.data.paths:
        name = config.policy["name"]
        raise UserError(f"policy={name} learns online and reads no data; leave data= out")
    values = {key: item for key, item in config.policy.items() if key != "name"}
    settings = algorithm_config(config.policy["name"], values)
    if run is None:
        run, reward = start_run(config)
    else:
        reward = make_online_reward(config, run)
    inputs = manifest(config, [], reward.provenance() if reward else {"kind": "environment"})
    run.describe({"command": "train", **asdict(config)}, inputs)
    write_json(run.path / "behaviour.json", {"success": None, "return": None})
    started = time.monotonic()
    log = MetricsLog(run, tensorboard=config.tensorboard)
    total = config.steps * len(config.seeds)
    with stop_on_interrupt() as stop, progress_bar(total, "train", " steps") as bar:
        for place, seed in enumerate(config.seeds):
            recorder = Recorder(config, place, log, stop, bar, started)
            train_seed(config, run, settings, seed, recorder, reward)
    merge_seeds(run)
    evaluate(
        run,
        EvaluateConfig(config.evaluation_episodes, config.evaluation_seed, config.videos),
        wall_s=time.monotonic() - started,
    )
    return run


def make_online_reward(config: TrainConfig, run: RunFolder) -> Reward | None:
    """Return the reward that replaces the environment's and keep it in the run; None for its own.

    Raises:
        UserError: The environment has no named fields, or the reward is not acceptable.
    """
    if config.reward is None:
        return None
    task = require_task(config.env.title)
    sample = sample_transitions(config.env, CHECK_EPISODES, seed=0)
    return make_reward(config.reward, {}, run.path / "reward", task, sample)


def start_run(config: TrainConfig) -> tuple[RunFolder, Reward | None]:
    """Return a new run with its reward; a reward that is refused leaves no run behind."""
    run = RunFolder.create(config.name)
    try:
        return run, make_online_reward(config, run)
    except BaseException:
        shutil.rmtree(run.path)
        raise


def train_seed(
    config: TrainConfig,
    run: RunFolder,
    settings: Any,
    seed: int,
    recorder: Recorder,
    reward: Reward | None,
) -> None:
    """Train one seed and write its policy package, also when a stop is asked for."""
    task, env = make_task(config.env.title), make_environment(config.env)
    term_means: Callable[[], dict[str, float]] = dict
    if isinstance(reward, LearningReward):
        reward = reward.fresh(seed)
    if reward is not None:
        env = RewardedEnv(env, reward)
        term_means = env.term_means
    try:
        action = describe_action(env, task)
        normaliser = no_normalisation(env.single_observation_space, action)
        maker = resolve("policy", config.policy["name"])
        learner = maker(
            settings, env, normaliser.low, normaliser.high, seed=seed, device=config.device
        )

        def policy() -> Any:
            return snapshot(learner, normaliser, str(config.policy["name"]), seed)

        on_step = following(reward, learner, recorder.following(policy, term_means))
        steps = learn(learner, config.steps, on_step)
        if isinstance(reward, LearningReward):
            reward.save(run.path / "reward" / str(seed))
    finally:
        env.close()
    facts = {
        "steps": steps,
        "environment": asdict(config.env),
        "control_hz": task.control_hz if task else 0.0,
        "data": None,
    }
    write_package(run, "policy", seed, policy(), action, facts)
    if recorder.stop.asked:
        merge_seeds(run)
        place = package_folder(run, "policy", seed)
        print(
            f"stopped at step {steps} of seed {seed}; its policy is in {place}, look at it with: "
            f"embodied evaluate {run.path}"
        )
        raise KeyboardInterrupt


def learn(learner: Any, steps: int, on_step: Callable[[int, Finished], bool]) -> int:
    """Let the learner learn; return the steps that it took."""
    try:
        return int(learner.learn(steps, on_step))
    except ValueError:
        # PPO's distribution refuses NaN with this error; any other one is a bug and travels.
        if all(np.isfinite(item).all() for item in learner.actor_weights().values()):
            raise
        raise diverged() from None


def snapshot(learner: Any, normaliser: Normaliser, algorithm: str, seed: int) -> Any:
    """Return what the learner has learnt so far as a policy package in memory."""
    moments = learner.observation_moments()
    if moments is not None:
        normaliser = replace(normaliser, mean=moments[0], std=moments[1])
    description = {
        "algorithm": algorithm,
        "arm": "policy",
        "seed": seed,
        "head": learner.head,
        "activation": learner.activation,
    }
    try:
        return resolve("package", "make")(learner.actor_weights(), normaliser, description)
    except ValueError:
        raise diverged() from None


def diverged() -> UserError:
    """Return the mistake of a training whose weights are not finite."""
    return UserError("the weights became NaN or infinite; lower policy.learning_rate")


def no_normalisation(observation: Any, action: Field) -> Normaliser:
    """Return the identity on observations with the action's bounds.

    Raises:
        UserError: Observations that are not flat, or an action without a finite range.
    """
    if len(observation.shape or ()) != 1:
        raise UserError(f"observations of shape {observation.shape} are not learnt, only flat ones")
    bounds = action_bounds(action, "the environment")
    low, high = (np.asarray(item, np.float32) for item in bounds)
    size = observation.shape[0]
    return Normaliser(np.zeros(size, np.float32), np.ones(size, np.float32), low, high)


@dataclass
class Recorder:
    """Writes the metrics of one seed while it is trained."""

    config: TrainConfig
    place: int  # of the seed among the training seeds
    log: MetricsLog
    stop: StopRequest
    bar: Any
    started: float  # s on the monotonic clock, of the first seed

    def following(
        self, policy: Callable[[], Any], term_means: Callable[[], Mapping[str, float]]
    ) -> Callable[[int, Finished], bool]:
        """Return what the learner calls after every step.

        Args:
            policy: Gives the learner's newest state.
            term_means: Gives the means per step of the reward's terms since its last call.
        """
        ended: list[tuple[float, bool | None]] = []
        before, total = 0, self.config.steps

        def on_step(step: int, finished: Finished) -> bool:
            nonlocal before
            ended.extend(finished)
            self.bar.update(min(step, total) - min(before, total))

            def due(every: int) -> bool:
                return every > 0 and (step // every > before // every or before < total <= step)

            line: dict[str, float] = {}
            if due(self.config.log_every):
                line |= episode_means(ended)
                line |= {f"reward/{name}": mean for name, mean in term_means().items()}
                ended.clear()
            if due(self.config.curve_every):
                line |= self.curve(policy())
            if line:
                self.write(step, line)
            before = step
            return not self.stop.asked

        return on_step

    def curve(self, policy: Any) -> dict[str, float]:
        """Return ``evaluation/success`` (or ``return``) of the policy as it is."""
        config = self.config
        seed = config.evaluation_seed + CURVE_SEED_OFFSET
        (episodes,) = evaluate_policies(config.env, [policy], config.curve_episodes, seed)
        outcome = outcome_arrays(episodes)
        kind = "return" if outcome["success"] is None else "success"
        return {f"evaluation/{kind}": float(outcome[kind].mean())}

    def write(self, step: int, values: dict[str, float]) -> None:
        """Write a line in which the other seeds have no number."""
        line: dict[str, Any] = {"step": step, "wall_s": time.monotonic() - self.started}
        for key, value in values.items():
            if math.isfinite(value):
                line[f"policy/{key}"] = [
                    value if index == self.place else None
                    for index in range(len(self.config.seeds))
                ]
        self.log.write(line)


def episode_means(finished: Finished) -> dict[str, float]:
    """Return the means over the training episodes that ended; nothing where none did."""
    if not finished:
        return {}
    means = {"episode/return": float(np.mean([item[0] for item in finished]))}
    told = [item[1] for item in finished if item[1] is not None]
    return means | ({"episode/success": float(np.mean(told))} if told else {})


def merge_seeds(run: RunFolder) -> None:
    """Put what the seeds wrote one after another side by side: one line for every step."""
    merged: dict[int, dict[str, Any]] = {}
    for line in read_metrics(run):
        kept = merged.setdefault(line["step"], {})
        for key, value in line.items():
            if isinstance(value, list) and key in kept:
                both = zip(kept[key], value, strict=True)
                value = [new if old is None else old for old, new in both]
            kept[key] = value
    lines = (dumps(merged[step]) + "\n" for step in sorted(merged))
    write_text(run.path / "metrics.jsonl", "".join(lines))
