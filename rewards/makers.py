"""The rewards that a config can name: each maker turns options and a context into a Reward."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from embodied.errors import UserError
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
    if ensemble.is_ensemble(folder):
        combined = ensemble.load_saved(folder, _task(context))
        if kept_elsewhere:
            ensemble.save(combined, context.folder, context.sample)
        return combined
    reward = provenance.load_saved(folder, _task(context))
    if kept_elsewhere:
        provenance.save(reward, context.folder, context.sample, gate=gate_of(context))
    return reward


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
