"""Rolling policies and behaviours out in a vector environment: one loop for every stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from embodied.dataset import Episode
from embodied.types import Array, Transitions

# act(observation [N, O], state fields [N, ...], episode_start [N]) -> action [N, A]
Act = Callable[[Array, Mapping[str, Array], npt.NDArray[np.bool_]], Array]
Columns = dict[str, Array]


def rollout(
    env: Any,
    act: Act,
    episodes_per_env: int,
    seed: int | Sequence[int] | None = None,
    on_step: Callable[[int], object] = lambda step: None,
    observe: Callable[[Transitions], None] | None = None,
) -> Iterator[tuple[int, Episode]]:
    """Yield (sub-environment, whole episode), ``episodes_per_env`` from every sub-environment.

    Every sub-environment gives the same number of episodes, so short ones are not over-counted.
    An episode carries ``reward`` and, where the environment tells it, ``success`` as columns.
    Steps are kept as arrays over the environments and cut into episodes when some end.

    Args:
        env: A ``gymnasium.vector.VectorEnv`` with SAME_STEP autoreset.
        act: Chooses the actions.
        episodes_per_env: Episodes from each sub-environment.
        seed: Given to the first reset.
        on_step: Called with the number of the step, for a progress bar.
        observe: Called with every step of all sub-environments (``LearningBehaviour.observe``).
    """
    observation, info = env.reset(seed=seed)
    left = np.full(env.num_envs, episodes_per_env)
    begin = np.zeros(env.num_envs, np.int64)  # step at which each open episode began
    start = np.ones(env.num_envs, bool)
    history: list[tuple[Columns, Columns]] = []  # (before the step, of the step), step by step
    forgotten = step = 0
    while left.any():
        before = _rows(observation, info)
        action = np.asarray(act(observation, info.get("state", {}), start), np.float32)
        observation, reward, terminated, truncated, info = env.step(action)
        on_step(step)
        start = terminated | truncated
        if observe is not None:
            after = next_observation(observation, info, start)
            observe(
                Transitions(
                    before["observation"], action, after, terminated, truncated, reward=reward
                )
            )
        history.append((before, _entries(action, reward, info, start)))
        step += 1
        for first in np.unique(begin[start]):
            group = np.flatnonzero(start & (begin == first))
            yield from _cut(history[first - forgotten :], info, group[left[group] > 0], terminated)
        left -= start & (left > 0)
        begin[start] = step
        drop = int(begin.min()) - forgotten
        del history[:drop]
        forgotten += drop


def _rows(observation: Array, info: Mapping[str, Any]) -> Columns:
    # Copies, since an environment may reuse its output arrays.
    state = {f"state.{key}": np.array(value) for key, value in info.get("state", {}).items()}
    return {"observation": np.array(observation, np.float32)} | state


def next_observation(
    observation: Array, info: Mapping[str, Any], ended: npt.NDArray[np.bool_]
) -> Array:
    """Return the observations [N, O] that a step led to, before any reset."""
    after = np.array(observation, np.float32)
    for index in np.flatnonzero(ended):
        after[index] = info["final_obs"][index]
    return after


def _entries(
    action: Array, reward: Array, info: Mapping[str, Any], ended: npt.NDArray[np.bool_]
) -> Columns:
    entries = {"action": np.array(action), "reward": np.array(reward, np.float32)}
    success = info.get("success")
    final = info.get("final_info", {}).get("success") if ended.any() else None
    if success is not None or final is not None:
        flags = np.array(success if success is not None else np.zeros(len(ended)), bool)
        if final is not None:
            flags[ended] = np.asarray(final, bool)[ended]
        entries["success"] = flags
    return entries


def _cut(
    history: Sequence[tuple[Columns, Columns]],
    info: Mapping[str, Any],
    group: npt.NDArray[np.int64],
    terminated: npt.NDArray[np.bool_],
) -> Iterator[tuple[int, Episode]]:
    """Yield the episodes of the environments in ``group``, which span the whole ``history``."""
    if not len(group):
        return
    final_observation = np.stack([np.asarray(info["final_obs"][i], np.float32) for i in group])
    final = _rows(final_observation, {})
    final_state = info.get("final_info", {}).get("state", {})
    final |= {f"state.{key}": np.asarray(value)[group] for key, value in final_state.items()}
    rows = {
        key: np.concatenate([np.stack([before[key][group] for before, _ in history]), [value]])
        for key, value in final.items()
    }
    names = set.union(*(set(entries) for _, entries in history))
    # Some environments tell success at the end of an episode alone.
    untold = np.zeros(len(terminated), bool)
    columns = {
        key: np.stack([entries.get(key, untold)[group] for _, entries in history]) for key in names
    }
    for slot, index in enumerate(group):
        episode = Episode(
            observation=rows["observation"][:, slot],
            action=columns["action"][:, slot],
            terminated=bool(terminated[index]),
            state={k[6:]: v[:, slot] for k, v in rows.items() if k.startswith("state.")},
            columns={key: columns[key][:, slot] for key in sorted(names - {"action"})},
        )
        yield int(index), episode
