"""``embodied compare``: several runs, or arms of them, side by side with honest statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embodied.comparison import pairs_of, profile_of, statistics_of, table
from embodied.config import build
from embodied.errors import UserError
from embodied.files import read_json, write_json
from embodied.results import CONTROLS, diverged
from embodied.runs import RunFolder
from embodied.scores import comparability, normalised_score
from embodied.sequential import MAX_AGENTS

METRICS = ("success", "return", "score")
KEYS = ("task", "policy", "reward", "seeds", "episodes", "controls", "success", "return")
LARGEST = 1e100  # of a stored number: sums and squares of such numbers are finite


@dataclass(frozen=True)
class CompareConfig:
    """How runs are compared."""

    name: str = "compare"  # of the run folder
    metric: str | None = None  # success, return or score; None: success where all have it
    alpha: float = 0.05  # probability of any false decision between two runs


@dataclass(frozen=True)
class Entry:
    """One arm of one run.

    Attributes:
        text: How it was named: RUN or RUN:ARM.
        run: Its run.
        arm: ``policy``, ``behaviour`` or a control.
        result: The run's ``result.json``.
        row: The arm's ``success`` and ``return``.
    """

    text: str
    run: RunFolder
    arm: str
    result: Mapping[str, Any]
    row: Mapping[str, Any]


def compare(texts: Sequence[str], config: CompareConfig) -> RunFolder:
    """Compare runs of one task; write ``result.json`` and ``compare.html`` into a new run folder.

    Args:
        texts: Run folders, or RUN:ARM for an arm: ``behaviour``, ``bc``, ``constant_reward`` or
            ``true_reward``.
        config: How.

    Raises:
        UserError: Runs of different tasks, one named twice, an unknown arm, or a metric that one
            of them does not have.
    """
    from embodied.report.comparison import write_comparison

    if not 2 <= len(texts) <= MAX_AGENTS or len(set(texts)) != len(texts):
        raise UserError(f"{len(texts)} runs to compare; name 2 to {MAX_AGENTS}, none of them twice")
    entries = [find(text) for text in texts]
    metric = choose_metric(entries, config.metric)
    result = describe(entries, metric, config.alpha)
    run = RunFolder.create(config.name)
    run.describe(
        {"command": "compare", "runs": list(texts), **asdict(config)}, {"command": "compare"}
    )
    write_json(run.path / "result.json", result)
    write_comparison(run.path / "compare.html", result, run.manifest)
    return run


def find(text: str) -> Entry:
    """Read the arm of a run that ``RUN`` or ``RUN:ARM`` names.

    Raises:
        UserError: No such run or arm, or a damaged ``result.json``.
    """
    place, arm = text, "policy"
    if not Path(text).is_dir() and ":" in text:
        place, _, arm = text.rpartition(":")
    run = RunFolder.open(place)
    path = run.path / "result.json"
    result = read_json(path, KEYS)
    if not isinstance(result["task"], str) or not isinstance(result["episodes"], int):
        raise damaged(path)
    rows = {"policy": result}
    if isinstance(result["controls"], Mapping):
        rows |= {key: row for key, row in result["controls"].items() if row}
    if arm not in rows:
        known = [key for key in ("behaviour", *CONTROLS) if key in rows]
        raise UserError(f"{place} has no arm {arm!r}; it has {', '.join(known) or 'none'}")
    if not isinstance(rows[arm], Mapping):
        raise damaged(path)
    return Entry(text, run, arm, result, rows[arm])


def damaged(path: Path) -> UserError:
    """Return the error for a result that holds other values than evaluate writes."""
    return UserError(f"{path} is damaged; write it again with: embodied evaluate {path.parent}")


def choose_metric(entries: Sequence[Entry], wanted: str | None) -> str:
    """Return the metric, checked: known, of one task, and something that every entry has."""
    first = entries[0]
    for entry in entries:
        if entry.result["task"] != first.result["task"]:
            raise UserError(
                f"{first.text} is about {first.result['task']} and {entry.text} about "
                f"{entry.result['task']}; compare runs of one task"
            )
    if wanted is None:
        wanted = "success" if all(entry.row.get("success") for entry in entries) else "return"
    if wanted not in METRICS:
        raise UserError(f"unknown metric {wanted!r}; known: {', '.join(METRICS)}")
    key = "success" if wanted == "success" else "return"
    for entry in entries:
        if not entry.row.get(key):
            raise UserError(f"{entry.text} has no {key}; choose another metric or leave it out")
    return wanted


def describe(entries: Sequence[Entry], metric: str, alpha: float) -> dict[str, Any]:
    """Return the content of ``result.json``: every number of the table and of the page."""
    names = names_of(entries)
    rows = {name: row_of(entry, metric) for name, entry in zip(names, entries, strict=True)}
    scores = {name: np.array(row["per_seed"]) for name, row in rows.items()}
    return {
        "schema_version": 1,
        "task": entries[0].result["task"],
        "metric": metric,
        "alpha": alpha,
        "rows": rows,
        "pairs": pairs_of(scores, alpha),
        "profile": profile_of(scores, metric),
        "notes": notes_of(entries, metric),
    }


def names_of(entries: Sequence[Entry]) -> list[str]:
    """Return a short name for each entry: that of its run folder, unless two would be the same."""
    short = [
        entry.run.path.resolve().name + ("" if entry.arm == "policy" else f":{entry.arm}")
        for entry in entries
    ]
    return short if len(set(short)) == len(short) else [entry.text for entry in entries]


def row_of(entry: Entry, metric: str) -> dict[str, Any]:
    """Return the statistics of one entry over its training seeds."""
    path = entry.run.path / "result.json"
    stored = entry.row["success" if metric == "success" else "return"]
    try:
        numbers = [*stored["per_seed"], *stored["ci95"]]
        fine = len(stored["ci95"]) == 2 and all(abs(item) < LARGEST for item in numbers)
    except (KeyError, TypeError):
        fine = False
    if not fine or len(numbers) < 3:
        raise damaged(path)
    values = np.array(numbers, np.float64)
    if metric == "score":
        values = normalised_score(entry.result["task"], values)
    # The stored interval of the mean also holds the spread of the evaluation episodes. The score is
    # a rising line over the return, so the interval's ends move along it.
    return {
        "run": str(entry.run.path),
        "arm": entry.arm,
        "policy": entry.result["policy"] if entry.arm == "policy" else None,
        "episodes": entry.result["episodes"],
        **statistics_of(values[:-2], values[-2:], metric),
    }


def notes_of(entries: Sequence[Entry], metric: str) -> list[str]:
    """Return what a reader of the numbers has to know, differences in the evaluation first."""
    notes = []
    evaluated = [entry for entry in entries if entry.arm != "behaviour"]
    episodes = sorted({entry.result["episodes"] for entry in evaluated})
    if len(episodes) > 1:
        listed = ", ".join(str(item) for item in episodes)
        notes.append(
            f"warning: the runs were evaluated with different numbers of episodes: {listed}"
        )
    starts = {entry.run.path.resolve(): start_of(entry) for entry in evaluated}
    if len(starts) > 1 and None in starts.values():
        notes.append(
            "warning: an older result does not keep from which seed it was evaluated; evaluate "
            "every run with the same seed= and episodes="
        )
    elif len(set(starts.values())) > 1:
        notes.append(
            "warning: the evaluations' episodes begin from different seeds (of the starts)"
        )
    for entry in entries:
        if lost := diverged(entry.run).get(entry.arm):
            notes.append(
                f"warning: {entry.text} is without the seeds that became NaN: {', '.join(lost)}"
            )
    if len(evaluated) < len(entries):
        notes.append("behaviour is the datasets' own episodes, which have other starts")
    if metric == "score" and (told := comparability(entries[0].result["task"])):
        notes.append(told)
    return notes


def start_of(entry: Entry) -> int | None:
    """Return the seed of the evaluation's starts, or None where an older result lacks it."""
    found = entry.result.get("evaluation_seed")
    return found if isinstance(found, int) else None


def run(texts: Sequence[str], values: dict[str, Any]) -> RunFolder:
    """Entry of the command line."""
    made = compare(texts, build(CompareConfig, values))
    print(table(read_json(made.path / "result.json")))
    print(f"\n{made.path / 'compare.html'}")
    return made
