"""``embodied prefer``: a person compares clips of a dataset on a web page of this machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embodied.config import build
from embodied.dataset import Dataset
from embodied.environments import require_task
from embodied.errors import UserError, at_least
from embodied.formats import open_dataset
from embodied.frames import Frames, Images, make_frames
from embodied.preferences import segment_name
from embodied.registry import resolve
from embodied.runs import runs_root

SIZE = (480, 480)  # of a clip, in pixels
SHORTEST_S = 2.0  # a clip that is over sooner is hard to judge, and is slowed down
MAX_FPS = 240.0  # more than any screen shows


@dataclass(frozen=True)
class PreferConfig:
    """What ``prefer`` is asked for."""

    instruction: str | None = None  # what the clips are compared by; the task's own when null
    length: int = 20  # control steps of a clip
    pairs: int = 50  # how many are shown, attention checks among them
    attention_every: int = 10  # every so many pairs, one is shown again, sides swapped; 0: never
    seed: int = 0  # of the clips, their sides and the attention checks; the same one goes on
    store: str | None = None  # file of the answers; labels.sqlite in the folder of the runs
    fps: float | None = None  # frames a second; real time when null, slowed to 2 s for a clip
    host: str = "127.0.0.1"  # address that the page is served at
    port: int = 0  # any that is free when 0


def prefer(data: str | Path, config: PreferConfig, **options: Any) -> dict[str, Any]:
    """Ask for the preferences, until all are given; they go to the label store one by one.

    Args:
        data: A dataset of any supported format.
        config: What is asked.
        options: Passed on to the page: ``announce``, ``linger_s``.

    Returns:
        Counts of the answers and of the attention checks that agree, and ``store``.

    Raises:
        UserError: No such dataset; it cannot be drawn or holds too few clips; an address that
            cannot be listened at; a store that is none.
    """
    if not 0 <= config.port < 2**16:
        raise UserError(f"port is {config.port}; give one from 1 to 65535, or 0 for any")
    if config.fps is not None and not 0 < config.fps <= MAX_FPS:
        raise UserError(f"fps is {config.fps:g}; give more than 0, and at most {MAX_FPS:g}")
    dataset = open_dataset(data)
    task = require_task(dataset.info.environment)
    instruction = task.instruction if config.instruction is None else config.instruction.strip()
    if not instruction:
        raise UserError("the instruction is empty; give a sentence, or null for the task's own")
    pairs = draw_pairs(dataset, config.length, config.pairs, config.seed)
    frames: Frames | None = make_frames(task, SIZE)
    if frames is None:
        raise UserError(f"{data}: states of {task.name} cannot be drawn; use another task's data")
    fps = config.fps or min(task.control_hz, config.length / SHORTEST_S)
    store = runs_root() / "labels.sqlite" if config.store is None else Path(config.store)
    clips = Clips(dataset, config.length, frames)
    summary = resolve("preference_page", "serve")(
        instruction,
        [(clips.name(first), clips.name(second)) for first, second in pairs],
        clips,
        store,
        fps=fps,
        speed=fps / task.control_hz,
        seed=config.seed,
        attention_every=config.attention_every,
        host=config.host,
        port=config.port,
        **options,
    )
    return {**summary, "store": str(store)}


class Clips:
    """The clips of a dataset by name: ``<start of the dataset's digest>:<first>:<length>``.

    Args:
        dataset: Whose.
        length: Transitions of a clip.
        frames: Draws named states [N] as uint8 [N, H, W, 3].
    """

    def __init__(self, dataset: Dataset, length: int, frames: Frames) -> None:
        self._dataset, self._length, self._frames = dataset, length, frames

    def name(self, first: int) -> str:
        """Return the name of the clip that begins with transition ``first``."""
        return segment_name(self._dataset, first, self._length)

    def __call__(self, name: str) -> Images:
        """Return the images of what a clip's transitions lead to, uint8 [length, H, W, 3]."""
        first = int(name.split(":")[1])
        states = self._dataset.transitions(slice(first, first + self._length)).next_state
        return self._frames(states)


def draw_pairs(dataset: Dataset, length: int, count: int, seed: int) -> list[tuple[int, int]]:
    """Draw different pairs of different clips: first an episode each, then a place in it.

    More pairs of the same seed begin with the same ones.

    Args:
        dataset: Where they are from.
        length: Transitions of a clip; none crosses an episode.
        count: How many pairs.
        seed: Of the draw.

    Returns:
        The first transitions of both clips of every pair.

    Raises:
        UserError: Too few episodes are as long as that.
    """
    at_least(1, {"length": length, "pairs": count})
    at_least(0, {"seed": seed})
    places = np.maximum(dataset.episode_lengths - length + 1, 0)
    clips = int(places.sum())
    if not clips:
        raise UserError(
            f"{dataset.folder} has no episode of {length} control steps, the longest has "
            f"{dataset.episode_lengths.max(initial=0)}; give a smaller length"
        )
    # Half of what there is, so that drawing again until a pair is new comes to its end.
    if count > (most := clips * (clips - 1) // 4):
        raise UserError(
            f"{dataset.folder} has {clips} clips of {length} control steps, which is enough for "
            f"{most} pairs; give fewer pairs or a smaller length"
        )
    drawn = _draw(dataset, places, seed)
    pairs: dict[frozenset[int], tuple[int, int]] = {}
    while len(pairs) < count:
        pair = next(drawn), next(drawn)
        if pair[0] != pair[1]:
            pairs.setdefault(frozenset(pair), pair)
    return list(pairs.values())


def _draw(dataset: Dataset, places: Any, seed: int) -> Iterator[int]:
    """Yield first transitions of clips: uniform over the episodes that hold one, then in it."""
    rng = np.random.default_rng(seed)
    episodes = np.flatnonzero(places)
    while True:
        episode = rng.choice(episodes)
        yield int(dataset.episode_starts[episode] + rng.integers(places[episode]))


def run(data: str, values: Mapping[str, Any]) -> None:
    """Entry of the command line."""

    def announce(url: str) -> None:
        print(f"compare the clips at {url} (Ctrl-C stops; answers are kept)", flush=True)

    told = prefer(data, build(PreferConfig, values), announce=announce)
    decided = told["first"] + told["second"]
    print(f"{decided} preferences, {told['tie']} ties, {told['skip']} skipped, in {told['store']}")
    if told["checks"]:
        print(f"{told['agree']} of {told['checks']} pairs that were shown again agree")
