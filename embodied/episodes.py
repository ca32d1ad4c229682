"""Episodes in memory and what is counted of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from embodied.dataset import Episode
from embodied.types import Array, Transitions


def concatenate(episodes: Sequence[Episode]) -> Transitions:
    """Return all transitions of the episodes, in order, as one batch.

    The column ``episode`` (int ``[N]``) tells which of the episodes each belongs to.
    """

    def joined(pieces: list[Array]) -> Array:
        return np.concatenate(pieces)

    ends = []
    for episode in episodes:
        last = np.zeros(len(episode.action), bool)
        last[-1] = True
        ends.append((last & episode.terminated, last & (not episode.terminated)))
    first = episodes[0]
    columns = {key: joined([item.columns[key] for item in episodes]) for key in first.columns}
    columns["episode"] = np.repeat(np.arange(len(ends)), [len(last) for last, _ in ends])
    return Transitions(
        observation=joined([item.observation[:-1] for item in episodes]),
        action=joined([item.action for item in episodes]),
        next_observation=joined([item.observation[1:] for item in episodes]),
        terminated=joined([terminated for terminated, _ in ends]),
        truncated=joined([truncated for _, truncated in ends]),
        state={key: joined([item.state[key][:-1] for item in episodes]) for key in first.state},
        next_state={key: joined([item.state[key][1:] for item in episodes]) for key in first.state},
        columns=columns,
    )


def episode_success(episode: Episode) -> bool | None:
    """Return whether the episode ended in success (its last step, not any step on the way).

    None where the environment does not tell.
    """
    success = episode.columns.get("success")
    return None if success is None else bool(success[-1])


def episode_return(episode: Episode) -> float:
    """Return the undiscounted sum of the environment's own reward."""
    return float(np.sum(episode.columns["reward"], dtype=np.float64))


def outcome_arrays(episodes: Sequence[Episode]) -> dict[str, Any]:
    """Return ``success`` float64 [episodes] (or None) and ``return`` float64 [episodes]."""
    success = [episode_success(item) for item in episodes]
    return {
        "success": None if None in success else np.array(success, np.float64),
        "return": np.array([episode_return(item) for item in episodes]),
    }
