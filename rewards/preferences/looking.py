"""Preferences of a CLIP-like model: which side's picture is more like the instruction.

Similarity is regularised towards the direction from a baseline sentence to the goal (Rocamonde et
al. 2024, "Vision-Language Models are Zero-Shot Reward Models for RL", arXiv 2310.12921): with unit
vectors ``x`` of a picture, ``g`` of the goal and ``b`` of the baseline, the score is
``1 - |P (x - g)|^2 / 2`` where ``P`` mixes the projection onto ``g - b`` with the identity by
``alpha``. A side of several frames has their mean score.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embodied.errors import UserError
from rewards.embedding.clip import Clip, Floats, Images
from rewards.label_records import Answer
from rewards.preferences.oracle import read_preference
from rewards.preferences.source import Comparison, Preference


@dataclass(frozen=True)
class GoalScore:
    """Scores pictures against a goal.

    Attributes:
        goal: Unit vector [D].
        baseline: Unit vector [D], or None for plain similarity.
        alpha: 0 ignores the baseline, 1 looks along its direction alone.
    """

    goal: Floats
    baseline: Floats | None = None
    alpha: float = 0.5

    def __call__(self, pictures: Floats) -> Floats:
        """Return scores [N] of unit vectors [N, D]."""
        apart = pictures - self.goal
        if self.baseline is not None:
            direction = self.goal - self.baseline
            direction = direction / np.linalg.norm(direction)
            along = (apart @ direction)[:, None] * direction
            apart = self.alpha * along + (1.0 - self.alpha) * apart
        return np.asarray(1.0 - 0.5 * np.square(apart).sum(-1), np.float32)


class ClipSource:
    """Compares the scores of both sides' pictures.

    Args:
        model: The model.
        instruction: The sentence that every comparison is about.
        baseline: A sentence for scenes of no merit, or None for plain similarity.
        alpha: See ``GoalScore``.
        unsure: Differences of score that are smaller tell nothing.

    Raises:
        UserError: The model never read a word of a sentence.
    """

    name = "clip"
    parser = "clip 1"
    batch = 256

    def __init__(
        self,
        model: Clip,
        instruction: str,
        *,
        baseline: str | None = None,
        alpha: float = 0.5,
        unsure: float = 0.0,
    ) -> None:
        sentences = [instruction] if baseline is None else [instruction, baseline]
        for sentence in sentences:
            if unknown := model.unknown_words(sentence):
                raise UserError(
                    f"the model {model.name} never read {', '.join(map(repr, unknown))}; say it in "
                    "words of rewards/embedding/small_clip/README.md, or name another model with "
                    "reward.model=FOLDER, or ask a chat model with reward.source=chat"
                )
        vectors = model.texts(sentences)
        self.model, self.instruction, self.baseline = model, instruction, baseline
        self.alpha, self.unsure = alpha, unsure
        self.score = GoalScore(vectors[0], None if baseline is None else vectors[1], alpha)

    def request(self, comparison: Comparison) -> Mapping[str, Any]:
        """Return the question: the pictures' hashes, the model, the sentences, the band."""
        return {
            "source": self.name,
            "model": self.model.name,
            "weights": self.model.sha256,
            "instruction": comparison.instruction,
            "baseline": self.baseline,
            "alpha": self.alpha,
            "unsure": self.unsure,
            "pictures": [comparison.first.sha256, comparison.second.sha256],
        }

    def answer(self, comparisons: Sequence[Comparison]) -> list[Answer]:
        """Return both scores and what follows from them."""
        sides = [side for item in comparisons for side in (item.first, item.second)]
        scores = self.scores([side.frames for side in sides]).reshape(-1, 2)
        return [Answer(self._said(*map(float, pair)), model=self.model.name) for pair in scores]

    def scores(self, clips: Sequence[Images]) -> Floats:
        """Return the mean score [N] of every clip's frames."""
        if not clips:
            return np.zeros(0, np.float32)
        if any(len(clip) == 0 for clip in clips):
            raise UserError("there are no pictures to look at; use a task that can be drawn")
        every = self.score(self.model.images(np.concatenate(clips)))
        edges = np.cumsum([0, *map(len, clips)])
        return np.asarray(np.add.reduceat(every, edges[:-1]) / np.diff(edges), np.float32)

    def _said(self, first: float, second: float) -> str:
        gap = first - second
        said = "unsure" if abs(gap) <= self.unsure else "first" if gap > 0 else "second"
        return json.dumps({"scores": [round(first, 6), round(second, 6)], "preference": said})

    def read(self, raw: str) -> Preference:
        """Return the preference in a raw answer.

        Raises:
            ValueError: There is none.
        """
        return read_preference(raw)
