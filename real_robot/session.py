"""One guarded episode from connect to end state: what a stage runs on any robot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from embodied.types import FloatArray, Robot
from real_robot.guard import Guard
from real_robot.limits import Limits
from real_robot.loop import ChooseAction, EpisodeResult, run_episode
from real_robot.recorder import Recorder
from real_robot.tick import Tick


def run_guarded(
    robot: Robot,
    limits: Limits,
    choose_action: ChooseAction,
    *,
    steps: int,
    trace: Path,
    on_step: Callable[[Tick], None],
) -> tuple[EpisodeResult, dict[str, FloatArray]]:
    """Connect, run one episode behind a fresh guard, record it, and disconnect.

    Args:
        robot: Any robot; it is disconnected afterwards, whatever happens.
        limits: What the guard holds every command to.
        choose_action: Observation to joint targets.
        steps: Control steps of the episode.
        trace: Where ``trace.jsonl`` is written, a line per tick.
        on_step: Called after every tick.

    Returns:
        How it went, and the recorder's arrays.
    """
    robot.connect()
    try:
        with Recorder(trace, robot) as recorder:
            result = run_episode(
                robot, Guard(limits), choose_action, steps=steps, recorder=recorder, on_step=on_step
            )
            return result, recorder.episode()
    finally:
        robot.disconnect()
