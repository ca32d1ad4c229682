"""RL-VLM-F's online loop: explore, ask about what was seen, learn a reward, relabel, go on.

Sources: Wang et al. 2024, "RL-VLM-F" (arXiv 2402.03681); Lee et al. 2021, "PEBBLE" (arXiv
2106.05091): at first the policy is paid for the entropy of its states, estimated by the distance to
the k-th nearest one; then come sessions of questions, after each of which an ensemble is fitted and
all of the past is scored again.

Differences from the papers: the ensemble is fitted anew after every session, with held-out pairs;
what was seen is kept as named fields and not as pixels, pictures being drawn when a question needs
them; all of the past is
scored again, also where the replay buffer has wrapped around.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from embodied.errors import UserError, at_least
from embodied.files import write_json
from embodied.types import Array, FloatArray, Score, Transitions
from rewards.label_store import LabelStore
from rewards.preferences.measure import label_quality, reward_quality
from rewards.preferences.model import Features, PreferenceReward
from rewards.preferences.pairs import choose
from rewards.preferences.rlvlmf import (
    Asking,
    Labelled,
    Pool,
    ask_pairs,
    fit_labels,
    member_probability,
    store_path,
)
from rewards.preferences.source import PreferenceSource
from rewards.provenance import DIAGNOSTICS

NEIGHBOUR = 5  # the k of the entropy's estimate
COMPARED = 2048  # states seen, at least, that a new one's distance is taken to
ROWS = 8192


@dataclass(frozen=True)
class Loop:
    """When is asked."""

    explore_steps: int = 10_000  # environment steps paid for entropy; then the first session
    query_every: int = 5_000  # environment steps between two sessions
    pairs_per_session: int = 50
    recent_steps: int = 10_000  # pairs are made of the newest states, so many environment steps
    features: str = "state"


class OnlinePreferences:
    """Implements ``embodied.stages.learning_reward.LearningReward``.

    Args:
        loop: When is asked.
        asking: What is asked about; ``pairs`` is the most in all.
        make_source: Makes the source, given values of states that are known, or None.
        features: What the ensemble reads, with what draws named states.
        value: A known reward, for the oracle and for measuring; None where there is none.
        origin: Provenance.
        seed: Of everything drawn.
    """

    def __init__(
        self,
        loop: Loop,
        asking: Asking,
        make_source: Callable[[Any], PreferenceSource],
        features: Features,
        value: Callable[[Transitions], Any] | None,
        origin: dict[str, Any],
        *,
        looks: bool,
        seed: int = 0,
    ) -> None:
        at_least(1, {"query_every": loop.query_every, "pairs_per_session": loop.pairs_per_session})
        if features.kind != "state":
            raise UserError("the online loop learns from states; leave reward.features=state")
        self.loop, self.asking, self.features = loop, replace(asking, seed=seed), features
        self._make_source, self._value, self._origin = make_source, value, origin
        self._looks, self._seed = looks, seed
        self._rng = np.random.default_rng(seed)
        self._seen: list[FloatArray] = []  # next observations [N, O], a step each
        self._fields: list[dict[str, Array]] = []
        self._values: list[Array] = []
        self._labelled: list[tuple[Pool, Labelled]] = []
        self._model: PreferenceReward | None = None
        self._next = loop.explore_steps
        self._scale = 1.0
        self.first_change = False

    def fresh(self, seed: int) -> OnlinePreferences:
        """Return one that has seen nothing."""
        return OnlinePreferences(
            self.loop,
            self.asking,
            self._make_source,
            self.features,
            self._value,
            self._origin,
            looks=self._looks,
            seed=seed,
        )

    @property
    def asked(self) -> int:
        """How many pairs were asked about."""
        return sum(len(labelled.pairs) for _, labelled in self._labelled)

    def score(self, batch: Transitions) -> Score:
        """Return the ensemble's reward, or that of exploring, float32 [N]."""
        if self._model is not None:
            return self._model.score(batch)
        total = self._entropy(np.asarray(batch.next_observation, np.float32))
        return Score(total, {"entropy": total})

    def observe(self, batch: Transitions) -> None:
        """Remember a step."""
        self._seen.append(np.array(batch.next_observation, np.float32))
        self._fields.append({name: np.array(item) for name, item in batch.next_state.items()})
        if self._value is not None:
            self._values.append(np.asarray(self._value(batch), np.float32))

    def advance(self, steps: int) -> bool:
        """Hold a session where one is due; return whether the reward changed."""
        if steps < self._next or self.asked >= self.asking.pairs:
            return False
        self._next = steps + self.loop.query_every
        self.first_change = self._model is None
        self._session()
        return True

    def rescored(self, rows: int) -> FloatArray:
        """Return what the ensemble gives for the last ``rows`` steps but one, float32 [rows, N]."""
        assert self._model is not None
        last = len(self._seen) - 1
        seen = np.stack(self._seen[last - rows : last])
        flat = seen.reshape(-1, seen.shape[-1])
        found = np.concatenate(
            [self._model.members(flat[first : first + ROWS]).mean(0)
             for first in range(0, len(flat), ROWS)]
        )  # fmt: skip
        return np.asarray(found.reshape(seen.shape[:2]), np.float32)

    def save(self, folder: Path) -> None:
        """Keep the newest ensemble, and how right labels and reward are where that is known."""
        if self._model is None:
            return
        self._model.save(folder)
        pool, labelled = self._joined()
        found: dict[str, Any] = {"asked": self.asked, "sessions": len(self._labelled)}
        if pool.values is not None:
            found |= label_quality(labelled.pairs, labelled.said, pool.values)
            found |= reward_quality(
                self._model.members(pool.inputs).mean(0), pool.values, self._seed
            )
        write_json(folder / DIAGNOSTICS, {"schema_version": 1, "terms": {}, "preferences": found})

    def provenance(self) -> dict[str, Any]:
        """Return where it comes from."""
        return {**self._origin, "kind": "preferences_online", "loop": vars(self.loop)}

    def _entropy(self, observation: FloatArray) -> FloatArray:
        """Return the logarithm of the distance to the k-th nearest state seen, float32 [N]."""
        if len(self._seen) * len(observation) < 10 * NEIGHBOUR:
            return np.zeros(len(observation), np.float32)
        steps = self._rng.integers(len(self._seen), size=-(-COMPARED // len(observation)))
        seen = np.concatenate([self._seen[step] for step in steps])
        spread = np.maximum(seen.std(0), 1e-3)
        distance = torch.cdist(
            torch.from_numpy(observation / spread), torch.from_numpy(seen / spread)
        )
        nearest = distance.kthvalue(NEIGHBOUR, dim=1).values.numpy()
        found = np.log1p(nearest)
        self._scale = 0.99 * self._scale + 0.01 * max(1e-3, float(found.std()))
        return np.asarray(found / self._scale, np.float32)

    def _session(self) -> None:
        """Ask about pairs of recent states, fit the ensemble to all that was said."""
        pool = self._recent()
        hashes = pool.look_hashes() if self.asking.drop_alike else None
        members = None
        if self._model is not None:
            members = member_probability(self._model.members(pool.inputs), self.asking.fit.scale)
        how = "uniform" if members is None else self.asking.choice
        count = min(self.loop.pairs_per_session, self.asking.pairs - self.asked)
        pairs = choose(self._rng, len(pool), count, how, members, hashes)
        store = LabelStore(store_path())
        try:
            source = self._make_source(pool.values)
            said = ask_pairs(self.asking, pool, pairs, source, store)
        finally:
            store.close()
        self._labelled.append((pool, Labelled(pairs, said)))
        joined, labelled = self._joined()
        _, weights = fit_labels(joined.inputs, labelled, self.asking.fit)
        origin = {**self._origin, "task": self.asking.task, "pairs": self.asked}
        self._model = PreferenceReward(weights, self.features, 0.0, origin)

    def _recent(self) -> Pool:
        """Return some of the newest states, twice as many as pairs are asked about."""
        width = len(self._seen[0])
        rows = min(len(self._seen), max(1, self.loop.recent_steps // width))
        count = min(rows * width, 2 * self.loop.pairs_per_session)
        flat = self._rng.permutation(rows * width)[:count]
        places = [(len(self._seen) - rows + at // width, at % width) for at in flat]
        observation = np.stack([self._seen[row][column] for row, column in places])
        names = self._fields[0]
        state = {n: np.stack([self._fields[r][n][c] for r, c in places]) for n in names}
        values = None
        if self._value is not None:
            values = np.array([self._values[r][c] for r, c in places], np.float32)
        none = np.zeros(count, np.bool_)
        batch = Transitions(
            observation, np.zeros((count, 1)), observation, none, none, next_state=state
        )
        pictures = np.asarray(self.features.frames(state), np.uint8) if self._looks else None
        return Pool(batch, pictures, values, observation)

    def _joined(self) -> tuple[Pool, Labelled]:
        """Return all sessions as one."""
        pools, every = zip(*self._labelled, strict=True)
        starts = np.cumsum([0, *(len(pool.inputs) for pool in pools)])
        pairs = np.concatenate([item.pairs + s for item, s in zip(every, starts, strict=False)])
        values = None
        if pools[0].values is not None:
            values = np.concatenate([pool.values for pool in pools])
        inputs = np.concatenate([pool.inputs for pool in pools])
        said = [word for item in every for word in item.said]
        return Pool(pools[0].batch, None, values, inputs), Labelled(pairs, said)
