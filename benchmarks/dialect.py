"""What the dialect costs beside the same reward as plain NumPy code, and what scoring manages.

    python -m benchmarks.dialect [--rounds 15] [--transitions 1000000] [--out ...]

The two rewards of ``dialect_rewards`` are Python functions; the dialect gets their source, so both
sides compute the same words. Their results are compared first. Then they take turns, on arrays
that lie ready, on one thread each (``CodeReward`` itself uses more for batches of several chunks:
that is ``threads 2``, against the same plain code). Last, the whole path: a stored dataset of
scripted push episodes, ``Dataset.transitions`` of 65,536 at a time and ``CodeReward.score``, as
``embodied label`` does it, on one processor and on all of them.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.common import CORES, machine, quartiles, ratio, take_turns, write_result
from benchmarks.dialect_rewards import ACTION, PLACE_FIELDS, place, push
from benchmarks.label import make_dataset
from embodied.dataset import Dataset
from embodied.types import Field, Transitions
from rewards.code_reward import CodeReward
from rewards.conversation import code_block
from rewards.dialect import parse
from rewards.providers.recorded import FOLDER
from sim.tasks.push import PushTask

BATCHES = (64, 256, 1024, 4096, 65_536)
SECONDS = 0.02  # that one measurement of a round takes, about
LIMITS = {"overhead_at_4096": 0.10, "push_transitions_per_s": 5e6}


def source_of(function: Callable[..., Any]) -> str:
    """Return a function's source under the name that the dialect asks for."""
    return inspect.getsource(function).replace(f"def {function.__name__}(", "def reward(", 1)


def is_recorded(function: Callable[..., Any]) -> bool:
    """Return whether a reward is a reply kept in the repository, but for comments and spacing."""
    records = [json.loads(path.read_text(encoding="utf-8")) for path in FOLDER.glob("*.json")]
    trees = [ast.dump(ast.parse(code_block(record["reply"]))) for record in records]
    return ast.dump(ast.parse(source_of(function))) in trees


def draw(fields: Mapping[str, Field], rows: int) -> Transitions:
    """Return random transitions near the rewards' thresholds, float32."""
    rng = np.random.default_rng(rows)

    def state() -> dict[str, Any]:
        return {
            name: rng.normal(scale=0.05, size=(rows, *field.shape)).astype(np.float32)
            for name, field in fields.items()
        }

    action = rng.uniform(-0.15, 0.15, size=(rows, *ACTION.shape)).astype(np.float32)
    nothing, zeros = np.zeros(rows, bool), np.zeros((rows, 1), np.float32)
    return Transitions(zeros, action, zeros, nothing, nothing, state(), state())


def plain(function: Callable[..., Any], batch: Transitions) -> tuple[Any, dict[str, Any]]:
    """Run the reward as Python code."""
    state, after = SimpleNamespace(**batch.state), SimpleNamespace(**batch.next_state)
    result: tuple[Any, dict[str, Any]] = function(state, batch.action, after)
    return result


def check_equal(reward: CodeReward, function: Callable[..., Any], batch: Transitions) -> float:
    """Return the largest difference between both; stop where it is more than rounding."""
    score, (total, terms) = reward.score(batch), plain(function, batch)
    pairs = [(score.total, total), *((score.terms[name], terms[name]) for name in terms)]
    largest = max(float(np.abs(ours - theirs).max()) for ours, theirs in pairs)
    if largest > 1e-5:
        raise SystemExit(f"the dialect and plain NumPy differ by {largest}")
    return largest


def per_call(call: Callable[[], object]) -> float:
    """Return calls per second, over about ``SECONDS``."""
    begin, calls = time.perf_counter(), 0
    while (spent := time.perf_counter() - begin) < SECONDS or not calls:
        call()
        calls += 1
    return calls / spent


def use_processors(count: int) -> None:
    """Leave this process that many processors; ``CodeReward`` starts as many threads."""
    os.sched_setaffinity(0, ALL[:count])


ALL = sorted(os.sched_getaffinity(0))


def overhead(
    function: Callable[..., Any], fields: Mapping[str, Field], rounds: int
) -> dict[str, Any]:
    """Measure one reward at every batch size."""
    program = parse(source_of(function), fields, ACTION)
    rows: dict[str, Any] = {}
    for size in BATCHES:
        batch, reward = draw(fields, size), CodeReward(program, {})
        difference = check_equal(reward, function, batch)
        for threads in sorted({1, CORES if size > 16_384 else 1}):
            use_processors(threads)
            measures = {
                "dialect": partial(per_call, partial(reward.score, batch)),
                "plain": partial(per_call, partial(plain, function, batch)),
            }
            rates = take_turns(rounds, measures)
            rows[f"batch {size}, threads {threads}"] = {
                "dialect_us": quartiles([1e6 / rate for rate in rates["dialect"]]),
                "plain_us": quartiles([1e6 / rate for rate in rates["plain"]]),
                "time_of_plain": ratio(rates, "plain", "dialect"),
                "time_of_plain_quartiles": quartiles(
                    list(np.divide(rates["plain"], rates["dialect"]))
                ),
                "largest_difference": difference,
            }
            print(
                f"{function.__name__}, batch {size}, {threads} threads: dialect / plain time "
                f"{rows[f'batch {size}, threads {threads}']['time_of_plain']:.3f}",
                flush=True,
            )
        use_processors(len(ALL))
    plan = program.plan
    return {"steps": len(plan.steps), "operations_per_transition": plan.work, "rows": rows}


def score_dataset(dataset: Dataset, reward: CodeReward) -> float:
    """Return transitions per second from the stored columns to the scores."""
    begin = time.perf_counter()
    for chunk in dataset.chunks():
        reward.score(dataset.transitions(chunk))
    return len(dataset) / (time.perf_counter() - begin)


def score_gathered(batches: list[Transitions], reward: CodeReward) -> float:
    """Return transitions per second of columns that are gathered already."""
    begin = time.perf_counter()
    for batch in batches:
        reward.score(batch)
    return sum(map(len, batches)) / (time.perf_counter() - begin)


def throughput(transitions: int, rounds: int) -> dict[str, Any]:
    """Measure the whole path on a stored dataset, and its second half alone."""
    task = PushTask()
    reward = CodeReward(parse(source_of(push), task.fields, task.action), {})
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        dataset = Dataset(make_dataset(Path(temporary), transitions))
        batches = [dataset.transitions(chunk) for chunk in dataset.chunks()]
        for batch in batches:
            reward.score(batch)  # gathers the columns
        for threads in sorted({1, CORES}):
            use_processors(threads)
            rates = take_turns(
                rounds,
                {
                    "columns_to_score": partial(score_dataset, dataset, reward),
                    "gathered_to_score": partial(score_gathered, batches, reward),
                },
            )
            found[f"threads {threads}"] = {name: quartiles(rate) for name, rate in rates.items()}
            print(
                f"threads {threads}:",
                {k: f"{v['median']:.3g}/s" for k, v in found[f"threads {threads}"].items()},
                flush=True,
            )
        use_processors(len(ALL))
        return {"transitions": len(dataset), "transitions_per_s": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--transitions", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/dialect.json"))
    options = parser.parse_args()
    about = machine(("numpy",))
    push_fields = PushTask().fields
    result = {
        "rounds": options.rounds,
        "limits": LIMITS,
        "push_is_a_recorded_reply": is_recorded(push),
        "push": overhead(push, push_fields, options.rounds),
        "place": overhead(place, PLACE_FIELDS, options.rounds),
        "throughput": throughput(options.transitions, max(3, options.rounds // 3)),
    }
    write_result(options.out, "dialect", about, result)


if __name__ == "__main__":
    main()
