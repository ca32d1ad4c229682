"""Random programs against the reward dialect: nothing but a refusal or a right result may come out.

    python -m benchmarks.dialect_fuzz [--programs 100000] [--first 0] [--out ...]

Half of the programs come from the grammar, half are then changed to leave it. Of each is checked:
``parse`` returns or refuses; an accepted program gives, on NumPy arrays and on torch tensors of
float64, results of shape [N] that agree within 1e-5, are the same when computed again, the same for
a row alone, and leave their inputs as they were; ``CodeReward.score`` in float32 gives finite
numbers or refuses. Where NumPy and torch disagree, or a row and its batch, the program may be
ill-conditioned (a comparison of equal numbers, a sine of 1e12): it is, if inputs and steps that
differ by 1e-12 change NumPy's own result as much, or the other sign of a zero that ``min`` or
``max`` gives, which IEEE 754 leaves open. Those are counted; everything else is a finding, told
with the number of its program.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from benchmarks.common import machine, write_result
from benchmarks.dialect_grammar import ACTION, FIELDS, make
from embodied.errors import UserError
from embodied.types import Transitions
from rewards.code_reward import CodeReward
from rewards.dialect import DialectError, Program, evaluate, parse
from rewards.dialect.functions import NUMPY

ROWS = 9
ORDINARY = ROWS - 1  # the last row holds what is no number
ALONE = (0, 4, ROWS - 1)  # rows that are computed alone, too
TOLERANCE = 1e-5
NUDGES, NUDGE = 16, 1e-12
TIES = ("minimum", "maximum", "min", "max", "clip")
Values = dict[tuple[str, str], Any]


class Finding(AssertionError):
    """The dialect did what it must not do."""


@dataclass
class Tally:
    """What happened to the programs so far."""

    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    most_work: tuple[int, int] = (0, 0)  # operations per transition, and the program's number


def draw_inputs(seed: int) -> Values:
    """Return every field and the action: ordinary rows, then zeros, extremes and what is no number.

    The arrays cannot be written to.
    """
    rng = np.random.default_rng(seed)
    sources = [("action", "", ACTION)]
    sources += [(s, name, entry) for s in ("state", "next_state") for name, entry in FIELDS.items()]
    values: Values = {}
    for source, name, entry in sources:
        array = rng.normal(size=(ROWS, *entry.shape))
        array[4:8] = np.array([0.0, 1e-8, 1e3, -1e3]).reshape(-1, *[1] * len(entry.shape))
        array[8] = rng.choice([np.inf, -np.inf, np.nan, 1.0], size=entry.shape)
        array.flags.writeable = False
        values[source, name] = array
    return values


def check(number: int, values: Values, tally: Tally) -> None:
    """Make a program and check it.

    Raises:
        Finding: The dialect did what it must not do.
    """
    kind, source = make(number)
    try:
        program = parse(source, FIELDS, ACTION)
    except DialectError as error:
        tally.outcomes[f"{kind}: refused"] += 1
        tally.reasons[" ".join(error.reason.split()[:3])] += 1
        if "\n" in str(error) or len(str(error)) > 1000:
            raise Finding(f"program {number}: a message of {len(str(error))} characters") from error
        return
    tally.most_work = max(tally.most_work, (program.plan.work, number))
    outcomes = _check_results(program, values)
    outcomes.append(_check_score(program, values))
    tally.outcomes.update(f"{kind}: {outcome}" for outcome in outcomes)


def _check_results(program: Program, values: Values) -> list[str]:
    arrays = {entry: values[entry.source, entry.name] for entry in program.inputs}
    tensors = {entry: torch.tensor(array) for entry, array in arrays.items()}
    results = _results(program, arrays)
    for result in results:
        _demand(result.shape == (ROWS,) and result.dtype == np.float64, "another shape or type")
    again = _results(program, arrays)
    _demand(np.array_equal(results, again, equal_nan=True), "another result when computed again")
    on_torch = [result.numpy() for result in _results(program, tensors)]
    _demand(all(tensor._version == 0 for tensor in tensors.values()), "a tensor was written to")
    differing = ~_agree(results, on_torch)
    for row in ALONE:
        single = {entry: array[row : row + 1] for entry, array in arrays.items()}
        differing[:, row] |= ~_agree(results[:, row : row + 1], _results(program, single))[:, 0]
    if not differing.any():
        return ["agree"]
    explained = np.zeros_like(differing)
    rng = np.random.default_rng(0)
    for _ in range(NUDGES):
        near = {entry: _nudge(array, rng) for entry, array in arrays.items()}
        rounded = {name: partial(_rounded, NUMPY[name], rng) for name in NUMPY}
        with mock.patch.dict(NUMPY, rounded):
            explained |= ~_agree(results, _results(program, near))
    for zero in (0.0, -0.0):
        with mock.patch.dict(
            NUMPY, {name: partial(_with_zero, NUMPY[name], zero) for name in TIES}
        ):
            explained |= ~_agree(results, _results(program, arrays))
    rows = np.flatnonzero((differing & ~explained).any(axis=0))
    _demand(not len(rows), f"NumPy, torch or a row alone differ in rows {rows.tolist()}")
    return ["ill-conditioned"]


def _check_score(program: Program, values: Values) -> str:
    """Score in float32, as the stages do."""
    states = [
        {name: values[source, name][:ORDINARY].astype(np.float32) for name in FIELDS}
        for source in ("state", "next_state")
    ]
    action = values["action", ""][:ORDINARY].astype(np.float32)
    nothing, zeros = np.zeros(ORDINARY, bool), np.zeros((ORDINARY, 1), np.float32)
    batch = Transitions(zeros, action, zeros, nothing, nothing, *states)
    before = [array.copy() for state in (*states, {"": action}) for array in state.values()]
    try:
        score = CodeReward(program, {}).score(batch)
    except UserError:
        return "not finite, and refused"
    finally:
        after = [array for state in (*states, {"": action}) for array in state.values()]
        same = (np.array_equal(a, b, equal_nan=True) for a, b in zip(before, after, strict=True))
        _demand(all(same), "an input was written to")
    for result in (score.total, *score.terms.values()):
        _demand(result.shape == (ORDINARY,) and result.dtype == np.float32, "another shape or type")
        _demand(bool(np.isfinite(result).all()), "a score that is not finite")
    return "finite"


def _results(program: Program, inputs: Any) -> Any:
    total, terms = evaluate(program, inputs)
    results = [total, *terms.values()]
    return np.stack(results) if isinstance(total, np.ndarray) else results


def _agree(left: Any, right: Sequence[Any]) -> Any:
    left, right = np.asarray(left), np.asarray(right)
    with np.errstate(all="ignore"):
        size = np.maximum(1.0, np.maximum(np.abs(left), np.abs(right)))
        near = np.abs(left - right) <= TOLERANCE * size
    return near | (left == right) | (np.isnan(left) & np.isnan(right))


def _nudge(array: Any, rng: np.random.Generator) -> Any:
    noise = rng.uniform(-NUDGE, NUDGE, size=(2, *array.shape))
    return array * (1 + noise[0]) + noise[1]


def _rounded(function: Any, rng: np.random.Generator, *given: Any, out: Any) -> None:
    function(*given, out=out)
    if out.dtype != bool:
        out *= 1 + rng.uniform(-NUDGE, NUDGE, out.shape)


def _with_zero(function: Any, zero: float, *given: Any, out: Any) -> None:
    function(*given, out=out)
    out[out == 0] = zero


def _demand(condition: bool, otherwise: str) -> None:
    if not condition:
        raise Finding(otherwise)


def run(first: int, programs: int, tally: Tally) -> list[str]:
    """Check programs by their numbers; return a line for each finding."""
    findings = []
    values = draw_inputs(0)
    for number in range(first, first + programs):
        try:
            check(number, values, tally)
        except Exception as error:  # whatever comes out of the dialect is a finding
            findings.append(f"program {number}: {type(error).__name__}: {error}")
            print(findings[-1], flush=True)
        if (number + 1) % 10_000 == 0:
            print(f"{number + 1 - first} programs", flush=True)
    return findings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first program")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/dialect_fuzz.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    about, tally, begin = machine(("numpy", "torch")), Tally(), time.perf_counter()
    findings = run(options.first, options.programs, tally)
    result = {
        "programs": options.programs,
        "first": options.first,
        "findings": findings,
        "outcomes": dict(sorted(tally.outcomes.items())),
        "refusals": dict(tally.reasons.most_common()),
        "most_work": {
            "operations_per_transition": tally.most_work[0],
            "program": tally.most_work[1],
        },
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
        "seconds": time.perf_counter() - begin,
    }
    print(f"{options.programs} programs, {len(findings)} findings: {dict(tally.outcomes)}")
    write_result(options.out, "dialect_fuzz", about, result)


if __name__ == "__main__":
    main()
