"""The maker of ``reward=rlvlmf``: from options and a context to a reward learnt of preferences."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from embodied.errors import UserError, at_least
from embodied.preferences import segment_name
from embodied.runs import runs_root
from embodied.types import RewardContext, Task
from rewards import file
from rewards.embedding.clip import Clip
from rewards.label_store import LabelStore
from rewards.preferences import rlvlmf
from rewards.preferences.looking import ClipSource
from rewards.preferences.model import FEATURES, Features, PreferenceReward
from rewards.preferences.online import Loop, OnlinePreferences
from rewards.preferences.oracle import OracleSource
from rewards.preferences.pool import sampled, segment_starts, segments
from rewards.preferences.source import PreferenceSource
from rewards.text2reward import REPLIES

SOURCES = ("clip", "chat", "person", "oracle")
GAPS = 4096  # pairs that tell the oracle which are close


@dataclass(frozen=True)
class SourceConfig:
    """Who is asked, and how."""

    source: str  # clip, chat, person, oracle
    model: str | None = None  # folder of an open_clip model; the embedded one when null
    baseline: str | None = None  # a sentence for scenes of no merit; plain similarity when null
    alpha: float = 0.5  # weight of the direction from baseline to goal
    unsure: float = 0.0  # differences of score below that tell nothing
    profile: str = "exact"  # of the oracle's errors: exact, drawer, cartpole, cloth
    order_swap: bool = False  # chat: ask again with sides exchanged
    seed: int = 0


def make(
    context: RewardContext,
    source: SourceConfig,
    asking: rlvlmf.Asking,
    *,
    features: str,
    look: int,
    segment: int,
    uncertainty_weight: float,
) -> PreferenceReward:
    """Make the reward and keep it in the context's folder.

    Raises:
        UserError: No transitions, an unknown option, states that cannot be drawn, too few labels.
    """
    task = _task(context)
    if features not in FEATURES:
        raise UserError(f"unknown features={features!r}; known: {', '.join(FEATURES)}")
    _check_source(source)
    looks = source.source in ("clip", "chat")
    frames = context.frames(look) if context.frames and (looks or features != "state") else None
    needs_clip = source.source == "clip" or features == "clip"
    clip = _clip(source.model) if needs_clip else None
    seeing = Features(features, frames, clip)
    truth = file.reference(context.reference, task)
    value = None if truth is None else (lambda batch: truth.score(batch).total)
    asked: PreferenceSource | rlvlmf.Labelled
    if source.source == "person":
        pool, asked = answered_pool(context, asking, segment, seeing, value)
    else:
        pool = make_pool(context, asking, segment, seeing, value, looks=looks)
        asked = make_source(context, source, asking.instruction, clip, pool.side_values)
    return rlvlmf.make(
        asking,
        pool,
        asked,
        seeing,
        context.folder,
        uncertainty_weight=uncertainty_weight,
        origin=_origin(source, clip, look),
    )


def make_pool(
    context: RewardContext,
    asking: rlvlmf.Asking,
    segment: int,
    features: Features,
    value: Any,
    *,
    looks: bool,
) -> rlvlmf.Pool:
    """Return the sides: of the data to be labelled where there are any, else of the sample.

    Raises:
        UserError: There are neither, or segments are asked for and there is no dataset.
    """
    at_least(1, {"segment": segment, "pairs": asking.pairs})
    dataset, count = context.dataset, 2 * asking.pairs
    if dataset is None:
        if context.sample is None:
            raise UserError("reward=rlvlmf needs transitions to compare")
        if segment > 1:
            raise UserError("segments are of a dataset: use embodied label DATA reward=rlvlmf")
        batch = sampled(context.sample, count, asking.seed)
        return rlvlmf.make_pool(batch, features, features.frames, value, looks=looks)
    starts = segment_starts(dataset, segment, count, asking.seed)
    batch = segments(dataset, starts, segment)
    pool = rlvlmf.make_pool(batch, features, features.frames, value, looks=looks)
    names = [segment_name(dataset, int(start), segment) for start in starts]
    return replace(pool, length=segment, names=names, firsts=starts)


def answered_pool(
    context: RewardContext, asking: rlvlmf.Asking, segment: int, features: Features, value: Any
) -> tuple[rlvlmf.Pool, rlvlmf.Labelled]:
    """Return the segments that a person compared, and what they said.

    Raises:
        UserError: There is no dataset, or nobody compared its segments.
    """
    from rewards.preferences.answered import answered

    if context.dataset is None:
        raise UserError("a person's answers are about a dataset: use embodied label DATA")
    store = LabelStore(rlvlmf.store_path())
    try:
        starts, labelled = answered(store, context.dataset, asking.instruction, segment)
    finally:
        store.close()
    batch = segments(context.dataset, starts, segment)
    pool = rlvlmf.make_pool(batch, features, features.frames, value, looks=False)
    return replace(pool, length=segment, firsts=starts), labelled


def make_online(
    context: RewardContext,
    source: SourceConfig,
    asking: rlvlmf.Asking,
    loop: Loop,
    *,
    look: int,
) -> OnlinePreferences:
    """Return the reward of the online loop, which has seen nothing yet.

    Raises:
        UserError: An unknown option, states that cannot be drawn, no known reward for the oracle.
    """
    task = _task(context)
    _check_source(source)
    if source.source == "person":
        raise UserError("a person is not asked while a policy learns; take another reward.source")
    looks = source.source != "oracle"
    frames = context.frames(look) if context.frames and looks else None
    if looks and frames is None:
        raise UserError(f"states of {task.name} cannot be drawn; take reward.source=oracle")
    clip = _clip(source.model) if source.source == "clip" else None
    truth = file.reference(context.reference, task)
    return OnlinePreferences(
        loop,
        asking,
        lambda values: make_source(context, source, asking.instruction, clip, values),
        Features("state", frames, clip),
        None if truth is None else (lambda batch: truth.score(batch).total),
        {**_origin(source, clip, look), "instruction": asking.instruction, "task": task.name},
        looks=looks,
    )


def make_source(
    context: RewardContext,
    config: SourceConfig,
    instruction: str,
    clip: Clip | None,
    values: Any,
) -> PreferenceSource:
    """Return who is asked.

    Raises:
        UserError: It lacks what it needs: a provider, a known reward, a word.
    """
    if config.source == "oracle":
        if values is None:
            raise UserError(
                "the oracle needs a known reward: name its file with reference=FILE, or take "
                "another source"
            )
        rng = np.random.default_rng(0)
        first, second = rng.integers(len(values), size=(2, GAPS))
        return OracleSource(values[first] - values[second], config.profile, config.seed)
    if config.source == "clip":
        assert clip is not None
        return ClipSource(
            clip,
            instruction,
            baseline=config.baseline,
            alpha=config.alpha,
            unsure=config.unsure,
        )
    from rewards.preferences.chat import ChatSource

    if context.provider is None:
        raise UserError("reward.source=chat needs a provider, which this command does not have")
    return ChatSource(context.provider(), runs_root() / REPLIES, order_swap=config.order_swap)


def _check_source(source: SourceConfig) -> None:
    if source.source not in SOURCES:
        raise UserError(f"unknown source={source.source!r}; known: {', '.join(SOURCES)}")


def _clip(folder: str | None) -> Clip:
    return Clip.load() if folder is None else Clip.load(Path(folder))


def _origin(source: SourceConfig, clip: Clip | None, look: int) -> dict[str, Any]:
    told: dict[str, Any] = {"source": source.source, "source_settings": vars(source), "look": look}
    if clip is not None:
        told["clip"] = {"name": clip.name, "sha256": clip.sha256, "folder": source.model}
        if source.model is None:
            told["statement"] = (
                "the embedded CLIP learnt from captions of simulator state; see its card"
            )
    return told


def _task(context: RewardContext) -> Task:
    if context.task is None:
        raise UserError("reward=rlvlmf needs a documented task")
    return context.task
