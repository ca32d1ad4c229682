"""The rewards that a config can name: each maker turns options and a context into a Reward."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from embodied.errors import UserError
from embodied.files import read_json
from embodied.types import Reward, RewardContext, Task
from rewards import ensemble, file, provenance
from rewards.constant import ConstantReward
from rewards.gate.report import Gate
from rewards.success import SuccessReward
from rewards.text2reward import generate


def text2reward(
    context: RewardContext,
    *,
    instruction: str | None = None,
    max_attempts: int = 3,
    examples: int = 0,
) -> Reward:
    """Have the configured language model write the reward."""
    if context.provider is None:
        raise UserError("reward=text2reward needs a provider, which this command does not have")
    said = instruction or context.instruction or _task(context).instruction
    return generate(
        said,
        _task(context),
        context.provider(),
        context.sample,
        max_attempts=max_attempts,
        examples=examples,
        gate=gate_of(replace(context, instruction=said)),
        folder=context.folder,
    )


def from_file(context: RewardContext, *, path: str | None = None) -> Reward:
    """Take a reward that a person wrote in the dialect."""
    if path is None:
        raise UserError("reward=file needs path=FILE, the reward's code")
    return _loaded(context, path, "file")


def expert(context: RewardContext) -> Reward:
    """Take the expert reward of the task, which was written by hand."""
    return _loaded(context, file.require_expert(_task(context)), "expert")


def _loaded(context: RewardContext, path: str | Path, kind: str) -> Reward:
    gate = gate_of(context)
    reward = file.load(path, _task(context), context.sample, kind=kind, gate=gate)
    provenance.save(reward, context.folder, context.sample, gate=gate)
    return reward


def gate_of(context: RewardContext) -> Gate | None:
    """Return the gate for rewards of a context's task; None without transitions to measure on."""
    if context.sample is None:
        return None
    task = _task(context)
    return Gate(
        task,
        context.sample,
        make_environment=context.environment,
        reference=file.reference(context.reference, task),
        own_sentence=context.instruction in (None, task.instruction),
    )


def from_run(context: RewardContext, *, path: str | None = None) -> Reward:
    """Take the reward that an earlier run accepted, and keep a copy beside the new labels."""
    if path is None:
        raise UserError("reward=saved needs path=RUN, a run folder that holds reward/")
    folder = Path(path) / "reward"
    kept_elsewhere = folder.resolve() != context.folder.resolve()
    kind = read_json(folder / provenance.PROVENANCE, ("kind",))["kind"]
    if kind == "preferences":
        from rewards.preferences.model import load

        learnt = load(folder, _task(context).name, context.frames)
        if kept_elsewhere:
            learnt.save(context.folder)
        return learnt
    if ensemble.is_ensemble(folder):
        combined = ensemble.load_saved(folder, _task(context))
        if kept_elsewhere:
            ensemble.save(combined, context.folder, context.sample)
        return combined
    reward = provenance.load_saved(folder, _task(context))
    if kept_elsewhere:
        provenance.save(reward, context.folder, context.sample, gate=gate_of(context))
    return reward


def rlvlmf(
    context: RewardContext,
    *,
    instruction: str | None = None,
    source: str = "clip",
    model: str | None = None,
    baseline: str | None = None,
    alpha: float = 0.5,
    unsure: float = 0.0,
    profile: str = "exact",
    order_swap: bool = False,
    pairs: int = 2000,
    sessions: int = 1,
    choice: str = "uniform",
    drop_alike: bool = True,
    workers: int = 1,
    features: str = "state",
    look: int = 0,
    segment: int = 1,
    members: int = 3,
    epochs: int = 300,
    ties: str = "drop",
    loss: str = "bradley_terry",
    uncertainty_weight: float = 0.0,
    seed: int = 0,
) -> Reward:
    """Learn the reward from a model's preferences; configs/reward/rlvlmf.yaml says what is what."""
    from rewards.preferences.fit import FitConfig  # torch is imported where it is used
    from rewards.preferences.maker import SourceConfig, make
    from rewards.preferences.rlvlmf import Asking

    task = _task(context)
    return make(
        context,
        SourceConfig(source, model, baseline, alpha, unsure, profile, order_swap, seed),
        Asking(
            instruction=instruction or context.instruction or task.instruction,
            task=task.name,
            pairs=pairs,
            sessions=sessions,
            choice=choice,
            drop_alike=drop_alike,
            workers=workers,
            seed=seed,
            fit=FitConfig(members=members, epochs=epochs, ties=ties, loss=loss, seed=seed),
        ),
        features=features,
        look=look,
        segment=segment,
        uncertainty_weight=uncertainty_weight,
    )


def rlvlmf_online(
    context: RewardContext,
    *,
    instruction: str | None = None,
    source: str = "clip",
    model: str | None = None,
    baseline: str | None = None,
    alpha: float = 0.5,
    unsure: float = 0.0,
    profile: str = "exact",
    order_swap: bool = False,
    pairs: int = 2000,
    pairs_per_session: int = 50,
    explore_steps: int = 10_000,
    query_every: int = 5_000,
    recent_steps: int = 10_000,
    choice: str = "uniform",
    drop_alike: bool = True,
    workers: int = 1,
    look: int = 0,
    members: int = 3,
    epochs: int = 300,
    ties: str = "drop",
    loss: str = "bradley_terry",
) -> Reward:
    """Learn the reward while the policy learns; see configs/reward/rlvlmf_online.yaml."""
    from rewards.preferences.fit import FitConfig
    from rewards.preferences.maker import SourceConfig, make_online
    from rewards.preferences.online import Loop
    from rewards.preferences.rlvlmf import Asking

    task = _task(context)
    return make_online(
        context,
        SourceConfig(source, model, baseline, alpha, unsure, profile, order_swap),
        Asking(
            instruction=instruction or context.instruction or task.instruction,
            task=task.name,
            pairs=pairs,
            choice=choice,
            drop_alike=drop_alike,
            workers=workers,
            fit=FitConfig(members=members, epochs=epochs, ties=ties, loss=loss),
        ),
        Loop(explore_steps, query_every, pairs_per_session, recent_steps),
        look=look,
    )


def from_runs(
    context: RewardContext, *, members: tuple[str, ...] = (), uncertainty_weight: float = 1.0
) -> Reward:
    """Combine the rewards that several runs accepted; see ``rewards.ensemble``."""
    reward = ensemble.compose(members, uncertainty_weight, _task(context), context.sample)
    ensemble.save(reward, context.folder, context.sample)
    return reward


def constant(context: RewardContext, *, value: float = 0.0) -> Reward:
    """Return the control that gives every transition the same number."""
    return ConstantReward(value)


def success(context: RewardContext) -> Reward:
    """Return the stored success flag as a sparse reward."""
    return SuccessReward()


def _task(context: RewardContext) -> Task:
    if context.task is None:
        raise UserError("this reward reads named state fields, which the environment lacks")
    return context.task
