"""A reward that a person wrote, in the same dialect and through the same checks."""

from __future__ import annotations

from pathlib import Path

from embodied.types import Task, Transitions
from rewards.code_reward import CodeReward
from rewards.provenance import accept, read_source


def load(path: str | Path, task: Task, sample: Transitions | None = None) -> CodeReward:
    """Load reward code from a file.

    Args:
        path: Text of one function ``reward(state, action, next_state)``.
        task: Whose fields and action it reads.
        sample: Transitions of the task to check it on.

    Raises:
        UserError: The file is unreadable, outside the dialect, or fails a check.
    """
    source = read_source(Path(path))
    return accept(source, task, sample, {"kind": "file", "file": Path(path).name})
