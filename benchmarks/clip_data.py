"""Pictures and captions to train the embedded CLIP on, and held-out ones to judge it by.

States come from the tasks' own behaviours; where target and cube lie is drawn anew for most of
them, so that every distance is there. Training pictures and held-out ones differ in hues, in how
far cameras are moved, and in the seeds of their states (``sim.looks``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import sim
from embodied.registry import resolve
from embodied.rollout import rollout
from sim.captions import TOPICS, Caption, captions
from sim.cartpole.drawing import draw, draw_style
from sim.frames import ArmFrames
from sim.looks import Split, draw_arm_look

SIZE = 96  # pixels, of a square picture
PER_LOOK = 4  # pictures of one look
TABLE = ((0.10, 0.23), (-0.17, 0.17))  # m, x and y, where targets and cubes are put
State = dict[str, Any]


def all_captions() -> list[tuple[str, Caption]]:
    """Return (task, caption) of every caption, in one order."""
    return [(task, item) for task in TOPICS for item in captions(task)]


def make(task: str, count: int, split: Split, seed: int) -> tuple[Any, dict[str, Any]]:
    """Return pictures uint8 [N, 96, 96, 3] and the numbers [N] that captions are about."""
    rng = np.random.default_rng(seed)
    state = cart_states(count, rng) if task == "cartpole" else arm_states(task, count, rng)
    images = np.empty((count, SIZE, SIZE, 3), np.uint8)
    frames = None if task == "cartpole" else ArmFrames(resolve("task", task)(), (SIZE, SIZE))
    for first in range(0, count, PER_LOOK):
        rows = slice(first, first + PER_LOOK)
        part = {name: values[rows] for name, values in state.items()}
        if frames is None:
            values = np.stack(list(part.values()), 1)
            images[rows] = draw(values, (SIZE, SIZE), draw_style(rng, split))
        else:
            frames.wear(draw_arm_look(rng, split))
            images[rows] = frames(part)
    return images, {name: topic.measure(state) for name, topic in TOPICS[task].items()}


def cart_states(count: int, rng: np.random.Generator) -> State:
    """Return CartPole states: every angle, those near upright more often."""
    angle = np.radians(30) * rng.uniform(-1, 1, count) * rng.uniform(0, 1, count) ** 0.3
    return {
        "cart_position": rng.uniform(-1.9, 1.9, count),
        "cart_velocity": np.zeros(count),
        "pole_angle": np.clip(angle * 1.05, -np.radians(30), np.radians(30)),
        "pole_angular_velocity": np.zeros(count),
    }


def arm_states(task: str, count: int, rng: np.random.Generator) -> State:
    """Return states of an arm's task, most with target (and cube) put elsewhere."""
    state = rolled_out(task, count, int(rng.integers(2**31)))
    moved = rng.random(count) < 0.7
    if task == "reach":
        target = around(state["tip_position"], rng, height=(0.02, 0.14))
        state["target_position"] = np.where(moved[:, None], target, state["target_position"])
        return state
    cube = np.stack([*(rng.uniform(*side, count) for side in TABLE), np.full(count, 0.015)], axis=1)
    near = around(state["tip_position"], rng, height=(0.015, 0.015))
    cube = np.where((rng.random(count) < 0.5)[:, None], cube, near)
    target = around(cube, rng, height=(0.015, 0.015))
    state["cube_position"] = np.where(moved[:, None], cube, state["cube_position"])
    state["target_position"] = np.where(moved[:, None], target, state["target_position"])
    return state


def around(place: Any, rng: np.random.Generator, height: tuple[float, float]) -> Any:
    """Return points [N, 3] up to 25 cm from places [N, 3], short distances as often as long."""
    direction = rng.normal(size=place.shape)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    found = place + direction * rng.uniform(0, 0.25, (len(place), 1))
    low = np.array([TABLE[0][0], TABLE[1][0], height[0]])
    high = np.array([TABLE[0][1], TABLE[1][1], height[1]])
    return np.clip(found, low, high)


def rolled_out(task: str, count: int, seed: int) -> State:
    """Return the last states of steps of the task's own behaviour, shuffled."""
    env = sim.make(task, 64)
    maker = resolve("behaviour", env.task.behaviour)
    behaviour = maker(env.task, 64, seed)
    per_env = -(-count // (64 * env.max_steps))
    episodes = [item for _, item in rollout(env, behaviour.act, per_env, seed)]
    env.close()
    names = [name for name in episodes[0].state if name.endswith("position")]
    joined = {n: np.concatenate([item.state[n][1:] for item in episodes]) for n in names}
    chosen = np.random.default_rng(seed).permutation(len(joined[names[0]]))[:count]
    return {name: values[chosen].astype(np.float64) for name, values in joined.items()}


def soft_targets(tasks: list[str], values: list[Mapping[str, float]]) -> Any:
    """Return how likely each caption is of each picture, float32 [N, C]; rows sum to one.

    A caption that is off by its topic's scale counts 1 / e of a true one; one of another task's
    scene does not count.
    """
    known = all_captions()
    found = np.zeros((len(tasks), len(known)), np.float32)
    for task in set(tasks):
        rows = np.flatnonzero([item == task for item in tasks])
        for column, (owner, caption) in enumerate(known):
            if owner == task:
                value = np.array([values[row][caption.topic] for row in rows])
                scale = TOPICS[task][caption.topic].scale
                found[rows, column] = np.exp(-caption.error(value) / scale)
    return found / found.sum(1, keepdims=True)
