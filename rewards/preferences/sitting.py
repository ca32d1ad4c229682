"""A sitting: the pairs that one person compares, in order, and what was answered so far.

Which pair is an attention check and which side is on the left follow from the seed and the pair's
position alone, and what was answered stands in the label store. So a sitting that is begun again
with the same pairs and seed goes on at the first pair without an answer, and one with more pairs
is a longer one of the same beginning.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from embodied.errors import UserError, at_least
from embodied.video import write_video
from rewards.label_records import ANSWERED, Answer
from rewards.label_store import LabelStore
from rewards.preferences.person import Choice, PersonAnswer, PersonSource, read_answer
from rewards.preferences.source import Comparison, Side

Images = npt.NDArray[np.uint8]
SIDES: tuple[Literal["first", "second"], ...] = ("first", "second")
# What a key says: the side that is on the left or on the right, or neither.
PRESSED = ("left", "right", "tie", "skip")
MODEL = "person"  # what the store's ledger calls whoever answered


@dataclass(frozen=True)
class Plan:
    """What one position of a sitting shows.

    Attributes:
        pair: Number of the pair of clips.
        left: The side that is on the left.
        repeats: For an attention check the position whose pair it shows again; else None.
    """

    pair: int
    left: Literal["first", "second"]
    repeats: int | None = None


def plan(positions: int, attention_every: int, seed: int) -> list[Plan]:
    """Return what the positions show: pairs in their order, and attention checks between them.

    Args:
        positions: How many pairs are shown, the checks among them.
        attention_every: Every position with a number (from 1) that this divides is an attention
            check; 0 for none.
        seed: Of the sides and of which pair is shown again.

    Raises:
        UserError: No position, or an ``attention_every`` that is 1 or negative.
    """
    at_least(1, {"pairs": positions})
    at_least(0, {"attention_every": attention_every, "seed": seed})
    if attention_every == 1:
        raise UserError("attention_every is 1, which asks nothing new; give 2 or more, or 0")
    made: list[Plan] = []
    asked: list[int] = []  # positions that are no checks
    for position in range(positions):
        rng = np.random.default_rng([seed, position])
        if attention_every and (position + 1) % attention_every == 0:
            # Not the pair that was just seen, where there is another.
            again = int(rng.choice(asked[:-1] or asked))
            before = made[again]
            made.append(Plan(before.pair, _other(before.left), again))
        else:
            made.append(Plan(len(asked), SIDES[rng.integers(2)]))
            asked.append(position)
    return made


def _other(side: Literal["first", "second"]) -> Literal["first", "second"]:
    return "second" if side == "first" else "first"


@dataclass(frozen=True)
class Shown:
    """A position that is ready: its question's key and its clips' files."""

    key: str
    files: dict[Literal["first", "second"], Path]  # by side


class Sitting:
    """Pairs of clips, made ready one after the other by one thread and answered by others.

    Args:
        instruction: What the clips are compared by.
        pairs: Names of the clips of each pair, one pair for every position; checks show none of
            their own, so that the last ones are not used.
        frames: Returns a clip's frames, uint8 [T, H, W, 3], by its name.
        store: Keeps the answers.
        folder: Where the clips' videos go.
        fps: Frames a second of the videos.
        seed: Of the plan.
        attention_every: As for ``plan``.
    """

    def __init__(
        self,
        instruction: str,
        pairs: Sequence[tuple[str, str]],
        frames: Callable[[str], Images],
        store: LabelStore,
        folder: Path,
        *,
        fps: float,
        seed: int = 0,
        attention_every: int = 10,
    ) -> None:
        self.instruction, self._pairs, self._frames = instruction, pairs, frames
        self._store, self._folder, self._fps = store, folder, fps
        self.plan = plan(len(pairs), attention_every, seed)
        self._source = PersonSource()
        self._shown: list[Shown] = []
        self._answers: list[PersonAnswer | None] = []
        self._changed = threading.Condition(threading.RLock())
        self.given = 0  # answers of this sitting's own, not those of earlier ones
        self.finished = False

    def prepare(self) -> None:
        """Make the next position ready; in the thread that may draw."""
        at = len(self._shown)
        item = self.plan[at]
        sides = [Side(name, self._frames(name)) for name in self._pairs[item.pair]]
        comparison = Comparison(self.instruction, *sides)
        if item.repeats is None:
            request = self._source.request(comparison)
        else:
            request = self._source.attention_request(comparison, at)
        (key,) = self._store.add([request])
        files = {side: self._video(clip) for side, clip in zip(SIDES, sides, strict=True)}
        with self._changed:
            self._shown.append(Shown(key, files))
            self._answers.append(self._last_answer(key))
            self._changed.notify_all()

    def _video(self, clip: Side) -> Path:
        path = self._folder / f"{clip.sha256}.mp4"
        if not path.is_file():
            write_video(path, clip.frames, self._fps)
        return path

    def _last_answer(self, key: str) -> PersonAnswer | None:
        kept = [item for item in self._store.answers(key) if item.status == ANSWERED]
        try:
            answer = read_answer(kept[-1].raw) if kept else None
        except ValueError:  # another program's: asked again
            return None
        return None if answer is None or answer.choice == "undone" else answer

    @property
    def total(self) -> int:
        """Number of positions."""
        return len(self.plan)

    @property
    def ready(self) -> int:
        """Number of positions that are ready."""
        return len(self._shown)

    @property
    def position(self) -> int:
        """The first position without an answer, from 0; ``total`` when there is none."""
        with self._changed:
            given = [item is not None for item in self._answers]
            return given.index(False) if False in given else len(given)

    @property
    def done(self) -> bool:
        """Whether every pair is answered."""
        return self.position == self.total

    def clip(self, position: int, where: Literal["left", "right"]) -> Path | None:
        """Return the video at a side of the page, None for a position that is not ready."""
        if not 0 <= position < self.ready:
            return None
        left = self.plan[position].left
        side = left if where == "left" else _other(left)
        return self._shown[position].files[side]

    def answer(self, position: int, pressed: str, seconds: float) -> bool:
        """Keep an answer; on the disk when this returns.

        Args:
            position: What was answered.
            pressed: One of ``PRESSED``.
            seconds: How long it took, in s.

        Returns:
            Whether it was kept: False where that is not the pair to be answered now.

        Raises:
            UserError: The store cannot be written.
        """
        with self._changed:
            if position != self.position or position >= self.ready:
                return False
            left = self.plan[position].left
            sides: dict[str, Choice] = {"left": left, "right": _other(left)}
            choice: Choice = sides.get(pressed) or ("tie" if pressed == "tie" else "skip")
            self._keep(position, choice, seconds)
        return True

    def undo(self, position: int) -> bool:
        """Take the answer before ``position`` back; return whether that was done."""
        with self._changed:
            if position != self.position or position == 0:
                return False
            self._keep(position - 1, "undone", 0.0)
        return True

    def _keep(self, position: int, choice: Choice, seconds: float) -> None:
        item = self.plan[position]
        answer = PersonAnswer(choice, item.left, seconds, attention=item.repeats is not None)
        try:
            self._store.keep(self._shown[position].key, Answer(answer.raw(), model=MODEL))
        except sqlite3.Error as error:
            raise UserError(f"{self._store.path} cannot be written ({error})") from None
        self.given += 1
        self._answers[position] = None if choice == "undone" else answer
        self._changed.notify_all()

    def finish(self) -> None:
        """Note that the person wants to change nothing any more."""
        with self._changed:
            self.finished = True
            self._changed.notify_all()

    def wait(self, enough: Callable[[], bool], seconds: float | None = None) -> bool:
        """Wait until something is true of this sitting, at most for that long; return whether."""
        with self._changed:
            return self._changed.wait_for(enough, seconds)

    def summary(self) -> dict[str, Any]:
        """Return how many answers there are of each kind, and how many checks agree.

        A check counts where neither of its two answers was skipped; it agrees where they are the
        same.
        """
        with self._changed:
            answers = list(self._answers)
        labels = [a for a, item in zip(answers, self.plan, strict=False) if item.repeats is None]
        counts = {
            kind: sum(a is not None and a.choice == kind for a in labels)
            for kind in ("first", "second", "tie", "skip")
        }
        checks = [
            (again.choice, before.choice)
            for again, item in zip(answers, self.plan, strict=False)
            if item.repeats is not None
            and again is not None
            and (before := answers[item.repeats]) is not None
            and "skip" not in (again.choice, before.choice)
        ]
        agree = sum(again == before for again, before in checks)
        return {**counts, "checks": len(checks), "agree": agree}
