"""Rewards that a person wrote, in the same dialect and through the same checks.

Beside the user's own there is one of ours for most tasks, the expert reward: what a generated one
is compared with.
"""

from __future__ import annotations

from pathlib import Path

from embodied.errors import UserError
from embodied.types import Task, Transitions
from rewards.code_reward import CodeReward
from rewards.dialect import parse
from rewards.gate.report import Gate
from rewards.provenance import accept, read_source

EXPERTS = Path(__file__).resolve().parent / "experts"
SUFFIX = ".reward"  # of an expert reward, whose stem is the task's name


def load(
    path: str | Path,
    task: Task,
    sample: Transitions | None = None,
    *,
    kind: str = "file",
    gate: Gate | None = None,
) -> CodeReward:
    """Load reward code from a file.

    Args:
        path: Text of one function ``reward(state, action, next_state)``.
        task: Whose fields and action it reads.
        sample: Transitions of the task to check it on.
        kind: Of the reward, for its provenance.
        gate: See ``rewards.provenance.accept``.

    Raises:
        UserError: The file is unreadable, outside the dialect, or fails a check.
    """
    source = read_source(Path(path))
    return accept(source, task, sample, {"kind": kind, "file": Path(path).name}, gate=gate)


def expert_path(task: Task) -> Path | None:
    """Return the file of the task's expert reward, or None where it has none."""
    path = EXPERTS / f"{task.name}{SUFFIX}"
    return path if path.is_file() else None


def require_expert(task: Task) -> Path:
    """Return the file of the task's expert reward.

    Raises:
        UserError: It has none.
    """
    path = expert_path(task)
    if path is None:
        known = ", ".join(sorted(item.stem for item in EXPERTS.glob(f"*{SUFFIX}")))
        raise UserError(
            f"there is no expert reward for {task.name}, only for: {known}; write one and take it "
            "with reward=file path=FILE"
        )
    return path


def reference(path: Path | None, task: Task) -> CodeReward | None:
    """Return the reward that others are compared with: that of a file, or the task's expert one.

    It is parsed and not checked. None where no file is named and the task has no expert reward.

    Raises:
        UserError: The file is unreadable or outside the dialect.
    """
    chosen = expert_path(task) if path is None else path
    if chosen is None:
        return None
    return CodeReward(parse(read_source(chosen), task.fields, task.action), {"kind": "reference"})
