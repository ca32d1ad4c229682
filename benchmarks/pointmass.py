"""A point mass in a room with a wall: environment, controllers and data, many episodes at once.

The room is the unit square. A thick wall stands in the middle of the floor: whoever goes from A, on
its left, to C, on its right, has to pass above it, where B is. D is above B.

    +-------------------+
    |         D         |
    |                   |
    |         B         |
    |       +---+       |
    |       |   |       |
    |   A   |   |   C   |
    +-------+---+-------+

The state is position and velocity, ``(x, y, vx, vy)``; the action is a force in ``[-1, 1]^2``. The
reward is -1 a step and 0 at the step that reaches the goal, which ends the episode: the shift that
IQL's authors give to antmaze's 0 and 1 (arXiv 2110.06169, appendix B).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embodied.engine.data import Source

FloatArray = npt.NDArray[np.float32]
Act = Callable[[FloatArray], FloatArray]  # states [N, 4] -> actions [N, 2]

A, B, C, D = (
    np.array(place, np.float32) for place in ((0.17, 0.15), (0.5, 0.7), (0.83, 0.15), (0.5, 0.95))
)
LEFT_CORNER, RIGHT_CORNER = (np.array((x, 0.7), np.float32) for x in (0.17, 0.83))  # on the ways
WALL_LEFT, WALL_RIGHT, WALL_TOP = 0.35, 0.65, 0.55
RADIUS = 0.1  # how close counts as there
FORCE, DRAG = 0.04, 0.4  # velocity' = DRAG * velocity + FORCE * action, at most 0.067 a step
SPREAD = 0.05  # starts lie within this of their place on either axis, and are at most that fast
LIMIT = 60  # steps after which an episode is cut off
LOW, HIGH = (-1.0, -1.0), (1.0, 1.0)  # of the action


def advance(state: FloatArray, action: FloatArray) -> FloatArray:
    """Return the states [N, 4] one step later, moved along x and then along y.

    The room's sides and the wall stop what moves against them, in that direction alone.
    """
    x, y = state[:, 0], state[:, 1]
    velocity = DRAG * state[:, 2:] + FORCE * np.clip(action, -1.0, 1.0)
    across, up = np.clip(state[:, :2] + velocity, 0.0, 1.0).T
    in_wall = (across > WALL_LEFT) & (across < WALL_RIGHT) & (y < WALL_TOP)
    across = np.where(in_wall, np.where(x < 0.5, WALL_LEFT, WALL_RIGHT), across)
    on_wall = (across > WALL_LEFT) & (across < WALL_RIGHT) & (up < WALL_TOP)
    up = np.where(on_wall, WALL_TOP, up)
    moved = np.stack([across, up], 1)
    stopped = ~np.isclose(moved, state[:, :2] + velocity, rtol=0.0, atol=1e-6)
    return np.concatenate([moved, np.where(stopped, 0.0, velocity)], 1).astype(np.float32)


def is_at(state: FloatArray, place: FloatArray) -> npt.NDArray[np.bool_]:
    """Return which states [N, 4] are at a place [2] or at places [N, 2]."""
    return np.linalg.norm(state[:, :2] - place, axis=1) < RADIUS


def starts(place: FloatArray, count: int, rng: np.random.Generator) -> FloatArray:
    """Return states [N, 4] around a place, moving in whatever direction."""
    spread = rng.uniform(-SPREAD, SPREAD, (count, 4))
    return (np.concatenate([place, np.zeros(2)]) + spread).astype(np.float32)


@dataclass(frozen=True)
class Episodes:
    """Episodes of different lengths, side by side; what lies behind an episode's end is void."""

    state: FloatArray  # [T + 1, N, 4]
    action: FloatArray  # [T, N, 2]
    length: npt.NDArray[np.int64]  # [N]
    reached: npt.NDArray[np.bool_]  # [N], whether the episode ended at its goal

    def last(self) -> FloatArray:
        """Return the states [N, 4] that the episodes ended in."""
        return self.state[self.length, np.arange(len(self.length))]

    def touched(self, place: FloatArray) -> npt.NDArray[np.bool_]:
        """Return which episodes [N] were at a place at any time."""
        there = np.linalg.norm(self.state[..., :2] - place, axis=-1) < RADIUS
        lived = np.arange(len(self.state))[:, None] <= self.length
        return (there & lived).any(0)


def roll(act: Act, start: FloatArray, goal: FloatArray | None, limit: int = LIMIT) -> Episodes:
    """Roll out from states [N, 4] until each is at the goal [2], if there is one, or time is up."""
    states, actions = [start], []
    length = np.full(len(start), limit)
    reached = np.zeros(len(start), bool)
    for step in range(limit):
        action = np.clip(act(states[-1]), -1.0, 1.0).astype(np.float32)
        states.append(advance(states[-1], action))
        actions.append(action)
        if goal is not None:
            arrived = ~reached & is_at(states[-1], goal)
            length[arrived] = step + 1
            reached |= arrived
    return Episodes(np.stack(states), np.stack(actions), length, reached)


def controller(targets: FloatArray, noise: FloatArray | float, rng: np.random.Generator) -> Act:
    """Return a noisy PD controller that visits way-points [N, W, 2] one after the other.

    ``noise`` is the standard deviation of what is added to the action, one or ``[N, 1]``.
    """
    current = np.zeros(len(targets), np.int64)

    def act(state: FloatArray) -> FloatArray:
        rows = np.arange(len(targets))
        there = is_at(state, targets[rows, current])
        current[there] = np.minimum(current[there] + 1, targets.shape[1] - 1)
        error = targets[rows, current] - state[:, :2]
        force = 8.0 * error - 5.0 * state[:, 2:]
        # Scaled down as a whole, so that the way stays straight and clear of the wall.
        force = force / np.maximum(1.0, np.abs(force).max(1, keepdims=True))
        action: FloatArray = force + noise * rng.standard_normal(force.shape)
        return action

    return act


@dataclass(frozen=True)
class Data:
    """What is learnt from: transitions and their reward."""

    source: Source
    reward: FloatArray  # [N], -1 a step and 0 at the goal


def as_data(items: Sequence[tuple[Episodes, bool]]) -> Data:
    """Join episodes; the flag says whether the place where they end is the task's goal.

    Only there a transition is terminal. Elsewhere an end is a cut and values go on behind it.
    """
    observations, actions, ends, lengths = [], [], [], []
    for episodes, at_goal in items:
        for i, length in enumerate(episodes.length):
            observations.append(episodes.state[: length + 1, i])
            actions.append(episodes.action[:length, i])
            end = np.zeros(length, bool)
            end[-1] = at_goal and episodes.reached[i]
            ends.append(end)
            lengths.append(length)
    terminated = np.concatenate(ends)
    first = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
    source = Source(np.concatenate(observations), np.concatenate(actions), terminated, first)
    return Data(source, np.where(terminated, 0.0, -1.0).astype(np.float32))


def left_of_the_wall(count: int, rng: np.random.Generator) -> FloatArray:
    """Return states [N, 4] anywhere left of the wall."""
    state = starts(A, count, rng)
    state[:, 0] = rng.uniform(0.0, WALL_LEFT, count)
    state[:, 1] = rng.uniform(0.0, 1.0, count)
    return state


def replay(count: int, rng: np.random.Generator) -> Data:
    """Return data as of a learner that gets better: from much noise to little, all towards C.

    Episodes start left of the wall; every second one first goes to a place drawn at random.
    """
    way = np.stack([LEFT_CORNER, LEFT_CORNER, RIGHT_CORNER, C])
    targets = np.repeat(way[None], count, 0)
    targets[::2, 0] = rng.uniform(0.0, 1.0, (len(targets[::2]), 2))
    act = controller(targets, np.linspace(2.0, 0.3, count)[:, None], rng)
    return as_data([(roll(act, left_of_the_wall(count, rng), C), True)])
