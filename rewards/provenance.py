"""A reward's folder: its source, where it came from, and what was measured of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from embodied.errors import UserError
from embodied.files import read_json, sha256_bytes, write_json, write_text
from embodied.types import Task, Transitions
from rewards.checks import diagnostics, failures
from rewards.code_reward import CodeReward
from rewards.dialect import DIALECT_VERSION, parse
from rewards.gate.report import Gate

SCHEMA_VERSION = 1
DIAGNOSTICS_VERSION = 2  # the first one had no number and no verdicts
SOURCE = "reward.py"
PROVENANCE = "provenance.json"
DIAGNOSTICS = "diagnostics.json"
REQUIRED = ("schema_version", "kind", "task", "source_sha256", "dialect_version")
MAX_SOURCE_BYTES = 100_000


def accept(
    source: str,
    task: Task,
    sample: Transitions | None,
    origin: Mapping[str, Any],
    *,
    gate: Gate | None = None,
) -> CodeReward:
    """Parse source text, check it on sampled transitions and let it through the gate.

    Args:
        source: One function in the reward dialect.
        task: Whose fields and action it reads.
        sample: Transitions of the task; None leaves out the checks that need them, and the
            provenance says so.
        origin: What the provenance tells besides: kind, instruction, model...
        gate: Made for this task and sample; by default one that neither acts nor compares with a
            reference.

    Raises:
        UserError: The source is outside the dialect, or fails a check or a measure of the gate.
    """
    program = parse(source, task.fields, task.action)
    provenance = {
        "schema_version": SCHEMA_VERSION,
        **origin,
        "task": task.name,
        "source_sha256": sha256_bytes(source.encode()),
        "dialect_version": DIALECT_VERSION,
        "fields_used": list(program.fields_used),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "approved_by": "automatic checks" if sample is not None else "parser only",
    }
    reward = CodeReward(program, provenance)
    if sample is None:
        return reward
    found = failures(reward, sample) or (gate or Gate(task, sample)).report(reward).failures
    if found:
        raise UserError("the reward failed its checks: " + "; ".join(found))
    return reward


def save(
    reward: CodeReward,
    folder: Path,
    sample: Transitions | None,
    *,
    gate: Gate | None = None,
) -> None:
    """Write a reward's folder; the provenance comes last and vouches for the source.

    Args:
        reward: An accepted reward.
        folder: Where to.
        sample: Transitions that ``diagnostics.json`` describes the reward on; None leaves it out.
        gate: The one that the reward passed, whose verdicts are kept too; None leaves them out.
    """
    write_text(folder / SOURCE, reward.program.source)
    if sample is not None:
        measured = diagnostics(reward, sample, sample.columns.get("success"))
        verdicts = gate.report(reward).json() if gate is not None else {}
        version = {"schema_version": DIAGNOSTICS_VERSION}
        write_json(folder / DIAGNOSTICS, {**version, **verdicts, **measured})
    write_json(folder / PROVENANCE, reward.provenance())


def load_saved(folder: Path, task: Task) -> CodeReward:
    """Read a reward that was saved, and parse its source again.

    Raises:
        UserError: A file is missing, the source was changed after it was approved, or it was made
            for another task.
    """
    provenance = read_json(Path(folder) / PROVENANCE, REQUIRED)
    source = read_source(Path(folder) / SOURCE)
    if sha256_bytes(source.encode()) != provenance["source_sha256"]:
        raise UserError(
            f"{Path(folder) / SOURCE} was changed after it was approved; take it as a reward of "
            "your own with reward=file reward.path=..., or make it again"
        )
    if provenance["schema_version"] != SCHEMA_VERSION:
        raise UserError(f"{Path(folder) / PROVENANCE} has another schema version; make it again")
    if provenance["task"] != task.name:
        raise UserError(
            f"this reward was made for task {provenance['task']}, not for {task.name}; "
            "make one for this task"
        )
    return CodeReward(parse(source, task.fields, task.action), provenance)


def read_source(path: Path) -> str:
    """Read reward code from a file.

    Raises:
        UserError: It is missing, too long, or not UTF-8 text.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_SOURCE_BYTES + 1)
        if len(content) > MAX_SOURCE_BYTES:
            raise UserError(f"{path} is too long for a reward; name the right file")
        return content.decode()
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; check the path of the reward") from None
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}); name a readable file") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text; name a file with reward code") from None
