"""The rounds of an improvement loop, as a run folder holds them.

A run's own reward is round 0. ``rounds/<n>/`` holds what round ``n`` was asked for
(``request.json``), its program (``reward/``) and, where it was trained, everything that a training
leaves: it is a run folder of its own. A round of reflection keeps in ``selection.json`` how its
candidates did.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embodied.errors import UserError
from embodied.files import read_json
from embodied.runs import numbered

ROUNDS = "rounds"
REQUEST = "request.json"  # written first: a round without it has not begun
SELECTION = "selection.json"  # written last by a round of reflection


@dataclass(frozen=True)
class Round:
    """A program and what became of it.

    Attributes:
        number: 0 for the run's own reward.
        kind: ``first``, ``feedback`` or ``reflection``.
        said: What a person said of the program before it, which this one answers.
        source: Its code.
        terms: Mean of each term per control step, where it was measured.
        measured_on: Of which transitions those are the means.
        success: ``mean``, ``ci95`` and ``per_seed`` of its policy, where it was evaluated.
        returns: The same of the environment's own return.
        note: How it was chosen, for a person.
    """

    number: int
    kind: str
    said: str
    source: str
    terms: Mapping[str, float] = field(default_factory=dict)
    measured_on: str = ""
    success: Mapping[str, Any] | None = None
    returns: Mapping[str, Any] | None = None
    note: str = ""


def root_of(run: Path) -> Path:
    """Return the run that a folder belongs to: itself, or the run that it is a round of."""
    return run.parent.parent if run.parent.name == ROUNDS else run


def begun(root: Path) -> list[Path]:
    """Return the folders of the rounds that began, in order."""
    return [path for path in numbered(root / ROUNDS) if (path / REQUEST).is_file()]


def read_rounds(root: Path) -> list[Round]:
    """Return round 0 and every later round that has a program.

    Raises:
        UserError: A file of a round is damaged.
    """
    folders = [root, *begun(root)]
    return [_read(path) for path in folders if (path / "reward" / "provenance.json").is_file()]


def _read(folder: Path) -> Round:
    request = folder / REQUEST
    asked = read_json(request, ("kind", "said")) if request.is_file() else {}
    try:
        source = (folder / "reward" / "reward.py").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise UserError(f"{folder}/reward holds no code; only code is improved") from None
    terms, measured_on = _terms(folder)
    result = folder / "result.json"
    found = read_json(result) if result.is_file() else {}
    chosen = folder / SELECTION
    selection = read_json(chosen, ("note", "best")) if chosen.is_file() else {}
    best = selection.get("best") or {}
    return Round(
        number=int(folder.name) if asked else 0,
        kind=str(asked.get("kind", "first")),
        said=str(asked.get("said", "")),
        source=source,
        terms=terms,
        measured_on=measured_on,
        success=found.get("success") or best.get("success"),
        returns=found.get("return") or best.get("return"),
        note=str(selection.get("note", "")),
    )


def _terms(folder: Path) -> tuple[dict[str, float], str]:
    """Return the mean of each term in the newest evaluation, or else in its checks."""
    for place in reversed(numbered(folder / "evaluations")):
        path = place / "episode.json"
        if path.is_file() and (means := read_json(path).get("means")):
            return {str(name): float(value) for name, value in means.items()}, "evaluation episodes"
    path = folder / "reward" / "diagnostics.json"
    measured = read_json(path, ("terms",)) if path.is_file() else {"terms": {}}
    means = {name: float(item["mean"]) for name, item in measured["terms"].items()}
    return means, "the transitions that it was checked on"
