"""RL-VLM-F: a reward from preferences of a model that looks at pairs of pictures.

Source: Wang et al. 2024, "RL-VLM-F: Reinforcement Learning from Vision Language Foundation Model
Feedback" (arXiv 2402.03681), and its offline form: states of unlabelled data are drawn in pairs, a
source says which serves the instruction better, and an ensemble of reward networks is fitted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from embodied.errors import UserError, at_least
from embodied.files import sha256_bytes, write_json
from embodied.preferences import PreferencePairs
from embodied.progress import progress_bar
from embodied.runs import runs_root
from embodied.types import Transitions
from rewards.checks import diagnostics
from rewards.label_store import LabelStore
from rewards.preferences.fit import FitConfig, Fitted, fit
from rewards.preferences.labelling import label
from rewards.preferences.measure import label_quality, reward_quality
from rewards.preferences.model import (
    Features,
    PreferenceReward,
    ensemble_rewards,
    normalised,
    pictures_of,
)
from rewards.preferences.pairs import Pairs, choose, look_hashes
from rewards.preferences.source import Comparison, Images, Preference, PreferenceSource, Side
from rewards.provenance import DIAGNOSTICS

LABELS = "labels.sqlite"  # the label store of all runs
VALUE = {"first": 1.0, "second": 0.0, "tie": 0.5}
MIN_STD = 1e-3  # of what a network reads; less is rounding


@dataclass(frozen=True)
class Asking:
    """What is asked about, and how much."""

    instruction: str
    task: str
    pairs: int = 2000  # comparisons in all
    sessions: int = 1  # in which they are asked; the ensemble is fitted after each
    choice: str = "uniform"  # of pairs, from the second session on: disagreement, entropy
    drop_alike: bool = True  # leave out pairs that look the same
    workers: int = 1  # threads that ask at a time
    seed: int = 0
    fit: FitConfig = field(default_factory=FitConfig)


@dataclass
class Pool:
    """The ``K`` sides that comparisons are made of: states, or segments of ``length`` of them.

    Attributes:
        batch: Transitions ``[K * length]`` whose ``s_{t+1}`` are compared, side by side.
        pictures: uint8 [K * length, H, W, 3], or None where nobody looks.
        values: What a known reward gives ``[K * length]``, or None.
        inputs: What the networks read of each.
        length: Transitions of a side.
        names: Of the sides [K]; by default a hash of their states.
        firsts: The first transition of each side in its dataset, int64 [K], where there is one.
    """

    batch: Transitions
    pictures: Images | None
    values: npt.NDArray[np.float32] | None
    inputs: npt.NDArray[Any]
    length: int = 1
    names: list[str] | None = None
    firsts: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.inputs) // self.length

    @cached_property
    def side_values(self) -> npt.NDArray[np.float32] | None:
        """The mean value of every side ``[K]``."""
        if self.values is None:
            return None
        return np.asarray(self.values.reshape(-1, self.length).mean(1), np.float32)

    def side(self, place: int, *, with_value: bool) -> Side:
        """Return a side of a comparison."""
        rows = slice(place * self.length, (place + 1) * self.length)
        frames = np.zeros((0, 1, 1, 3), np.uint8)
        if self.pictures is not None:
            frames = self.pictures[rows]
        values = self.side_values if with_value else None
        if self.names is not None:
            name = self.names[place]
        else:
            name = sha256_bytes(np.ascontiguousarray(self.batch.next_observation[rows]).tobytes())[
                :16
            ]
        return Side(name, frames, None if values is None else float(values[place]))

    def look_hashes(self) -> npt.NDArray[np.uint64] | None:
        """Return a hash [K] of how every side's last frame looks; None without pictures."""
        if self.pictures is None:
            return None
        return look_hashes(self.pictures[self.length - 1 :: self.length])


@dataclass
class Labelled:
    """Comparisons and what was said of them."""

    pairs: Pairs
    said: list[Preference | None]

    @property
    def preference(self) -> npt.NDArray[np.float32]:
        """Probability that the first side is preferred ``[P]``; NaN for no label."""
        return np.array([VALUE.get(item or "", np.nan) for item in self.said], np.float32)


def make_pool(
    batch: Transitions,
    features: Features,
    frames: Any,
    value: Callable[[Transitions], Any] | None,
    *,
    looks: bool,
) -> Pool:
    """Make a pool of states, with their pictures where these are needed."""
    pictures = pictures_of(batch, frames) if looks or features.kind != "state" else None
    if features.kind == "state" or pictures is None:
        inputs = features.of(batch)
    else:
        inputs = features.of_pictures(pictures)
    values = None if value is None else np.asarray(value(batch), np.float32)
    return Pool(batch, pictures, values, inputs)


def ask(
    asking: Asking, pool: Pool, source: PreferenceSource, store: LabelStore
) -> tuple[Labelled, Fitted, dict[str, torch.Tensor]]:
    """Ask about pairs in sessions; return them, the last fit, and weights with normalisation."""
    at_least(1, {"sessions": asking.sessions})
    rng = np.random.default_rng(asking.seed)
    hashes = pool.look_hashes() if asking.drop_alike else None
    every, weights = Labelled(np.zeros((0, 2), np.int64), []), None
    each = -(-asking.pairs // asking.sessions)
    for session in range(asking.sessions):
        members = None
        if weights is not None:
            members = member_probability(
                ensemble_rewards(weights, pool.inputs), asking.fit.scale, pool.length
            )
        how = "uniform" if session == 0 else asking.choice
        pairs = choose(rng, len(pool), each, how, members, hashes)
        said = ask_pairs(asking, pool, pairs, source, store)
        every = Labelled(np.concatenate([every.pairs, pairs]), [*every.said, *said])
        fitted, weights = fit_labels(pool.inputs, every, asking.fit, pool.length)
    assert weights is not None
    return every, fitted, weights


def fit_labels(
    inputs: npt.NDArray[Any], labelled: Labelled, config: FitConfig, length: int = 1
) -> tuple[Fitted, dict[str, torch.Tensor]]:
    """Fit an ensemble; return it, and its weights with the normalisation of what it reads."""
    scaling = input_scaling(inputs)
    tensor = torch.from_numpy(inputs) if inputs.ndim == 4 else normalised(scaling, inputs)
    with progress_bar(config.epochs, "fit", " passes") as bar:
        fitted = fit(tensor, labelled.pairs, labelled.preference, config, bar.update, length)
    return fitted, {**fitted.weights, **scaling}


def ask_pairs(
    asking: Asking, pool: Pool, pairs: Pairs, source: PreferenceSource, store: LabelStore
) -> list[Preference | None]:
    """Return what the source says of pairs of a pool."""
    known = source.name == "oracle"
    sides = {int(row): pool.side(int(row), with_value=known) for row in np.unique(pairs)}
    comparisons = [
        Comparison(asking.instruction, sides[int(first)], sides[int(second)])
        for first, second in pairs
    ]
    with progress_bar(len(comparisons), "ask", " pairs") as bar:
        return label(comparisons, source, store, workers=asking.workers, progress=bar.update)


def input_scaling(inputs: npt.NDArray[Any]) -> dict[str, torch.Tensor]:
    """Return mean and deviation [F] of numbers [N, F]; nothing for pictures."""
    if inputs.ndim == 4:
        return {}
    mean, std = inputs.mean(0), np.maximum(inputs.std(0), MIN_STD)
    return {name: torch.from_numpy(item) for name, item in (("mean", mean), ("std", std))}


def member_probability(
    rewards: npt.NDArray[np.float32], scale: float, length: int = 1
) -> Callable[[Pairs], Any]:
    """Return what gives ``[E, P]``, each member's probability that the first side is preferred.

    Args:
        rewards: Of every member for every state of the pool, [E, K * length].
        scale: See ``FitConfig``.
        length: States of a side.
    """
    rewards = scale * rewards.reshape(len(rewards), -1, length).mean(-1)

    def members(pairs: Pairs) -> Any:
        return 1.0 / (1.0 + np.exp(rewards[:, pairs[:, 1]] - rewards[:, pairs[:, 0]]))

    return members


def make(
    asking: Asking,
    pool: Pool,
    source: PreferenceSource | Labelled,
    features: Features,
    folder: Path,
    *,
    uncertainty_weight: float,
    origin: dict[str, Any],
) -> PreferenceReward:
    """Ask the source, unless the answers are there already; fit, measure, save.

    Raises:
        UserError: The source stopped, or there are too few labels.
    """
    store = LabelStore(store_path())
    try:
        if isinstance(source, Labelled):
            labelled = source
            fitted, weights = fit_labels(pool.inputs, labelled, asking.fit, pool.length)
        else:
            labelled, fitted, weights = ask(asking, pool, source, store)
        spent = {model: vars(item) for model, item in store.spent().items()}
    finally:
        store.close()
    said = {kind: labelled.said.count(kind) for kind in (*VALUE, "unsure", None)}  # type: ignore[arg-type]
    found = {
        "asked": len(labelled.pairs),
        "said": {str(kind): count for kind, count in said.items()},
        "spent_in_this_store": spent,
        **{name: item for name, item in vars(fitted).items() if name != "weights"},
    }
    reward = PreferenceReward(
        weights,
        features,
        uncertainty_weight,
        {
            **origin,
            "instruction": asking.instruction,
            "task": asking.task,
            "pairs": len(labelled.pairs),
            "labels_sha256": sha256_bytes(labelled.preference.tobytes()),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "approved_by": "nobody: a preference model is measured, not checked",
        },
    )
    side_values = pool.side_values
    if pool.values is not None and side_values is not None:
        found |= label_quality(labelled.pairs, labelled.said, side_values)
        found |= reward_quality(reward.members(pool.inputs).mean(0), pool.values, asking.seed)
    measured = diagnostics(reward, pool.batch, pool.batch.columns.get("success"))
    reward.pairs = labelled_segments(pool, labelled)
    reward.save(folder)
    write_json(folder / DIAGNOSTICS, {"schema_version": 1, **measured, "preferences": found})
    return reward


def labelled_segments(pool: Pool, labelled: Labelled) -> PreferencePairs | None:
    """Return what was said of segments of a dataset, for learners that take pairs; None without."""
    told = np.isfinite(labelled.preference)
    if pool.firsts is None or not told.any():
        return None
    first, second = pool.firsts[labelled.pairs[told]].T
    length = np.full(len(first), pool.length, np.int64)
    return PreferencePairs(first.copy(), second.copy(), length, labelled.preference[told])


def store_path() -> Path:
    """Return where the label store of all runs lies."""
    root = runs_root()
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make {root} ({error.strerror}); set EMBODIED_RUNS") from None
    return root / LABELS
