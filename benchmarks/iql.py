"""How fast one IQL update is on a CPU, beside other libraries and beside its matrix products.

    python -m benchmarks.iql [--peers jax d3rlpy torchrl] [--environments .bench]
                             [--rounds 7] [--seconds 1.5] [--threads 2] [--out FILE]

Every candidate is a process in its own environment (``benchmarks/peers``); they take turns round by
round, all others asleep. They train on data of the same size, from the same weights, with the same
hyper-parameters: observations of 17, actions of 6, two hidden layers of 256, batches of 256,
float32, Adam, the actor's rate on a cosine, no logging. Updates are in the order V, actor, critics,
target; ``d3rlpy_iql`` says where that library differs.

Before anything is measured, one update of every peer is held against plain torch in float64, from
the same weights on the same batch, and ours against plain torch (``plain.check_equivalence``).
Medians and quartiles over the rounds are reported; ratios are medians of per-round ratios.
The floor is the matrix products of one update and nothing else.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import CORES, machine, quartiles, ratio, take_turns, write_result
from benchmarks.peers.process import Worker, environment
from benchmarks.peers.protocol import Array, Task, save_task
from benchmarks.peers.reference import expected_weights, largest_error, make_task
from benchmarks.plain import check_equivalence
from embodied.engine.precision import describe_products, set_matmul_precision

PEERS = ("jax", "d3rlpy", "torchrl")
OURS, FLOOR = "ours float32 1", "floor float32 1"
LOCAL = (  # kind, precision, seeds
    *(("ours", mode, seeds) for seeds in (1, 8) for mode in ("float32", "bf16")),
    *(("compiled", mode, 1) for mode in ("float32", "bf16")),  # ours, after torch.compile
    *(("floor", mode, 1) for mode in ("float32", "bf16")),
    ("plain", "float32", 1),
)
OURS_WORKER = (sys.executable, "-m", "benchmarks.peers.ours")
BARS = (  # what, beside what, at least how many times as fast
    (OURS, "d3rlpy", 3.0),
    (OURS, "torchrl", 3.0),
    (OURS, "jax", 1.2),
    (OURS, FLOOR, 0.5),
    ("ours bf16 1", "jax", 2.0),
)
# Of one update's change to a network, about 1e-6 of its weights. Adam's first step divides by the
# gradient's size, so one gradient near its epsilon moves this by 4e-4; another order of V and the
# critics is 0.2.
TOLERANCE = 1e-3
SETTLE_S = 0.2  # for the last worker's threads to stop spinning
DRIFT = 0.05  # of the calibration, beyond which the machine was not quiet


def check(task: Task, workers: Mapping[str, Worker], folder: Path) -> dict[str, float]:
    """Return every candidate's error after one update; stop at one that computes something else.

    Ours after ``torch.compile`` is held against ours without; in bf16 nothing is checked, since
    there a product is meant to differ.
    """
    errors = {}
    for name in ("compiled float32 1", "plain float32 1", *PEERS):
        if name not in workers:
            continue
        if name.startswith("compiled"):
            expected: Mapping[str, Array] = workers[OURS].check(folder / "ours.npz")
        else:
            expected = expected_weights(task, name)
        found = workers[name].check(folder / "found.npz")
        errors[name] = largest_error(task, expected, found)
        if not errors[name] <= TOLERANCE:
            raise SystemExit(f"{name} differs by {errors[name]:.1e}; nothing was measured")
    return errors


def calibrate(seconds: float = 0.5) -> float:
    """Return GFLOP/s of a 256^3 product in float32, which tells a quiet machine from a busy one."""
    set_matmul_precision("float32")
    left, right, out = (torch.randn(256, 256) for _ in range(3))
    count, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        for _ in range(20):
            torch.mm(left, right, out=out)
        count += 20
    return 2 * 256**3 * count / (time.perf_counter() - begin) / 1e9


def updates_for(worker: Worker, seconds: float) -> int:
    """Return how many updates last so long; finding out also warms the worker up."""
    count = 4
    while True:
        done, took = worker.run(count)
        if took >= 0.3 * seconds:
            return max(1, round(done * seconds / took))
        count *= 2


def measured(worker: Worker, updates: int, seeds: int) -> float:
    """Return seed-updates per second of one turn."""
    time.sleep(SETTLE_S)
    done, took = worker.run(updates)
    return seeds * done / took


def start_workers(
    peers: Sequence[str], folder: Path, environments: Path, threads: int
) -> dict[str, Worker]:
    """Start every candidate, one after another."""
    commands: dict[str, list[str | Path]] = {
        f"{kind} {mode} {seeds}": [*OURS_WORKER, folder, kind, mode, str(seeds)]
        for kind, mode, seeds in LOCAL
    }
    for peer in peers:
        python = environment(peer, environments)
        commands[peer] = [python, "-m", f"benchmarks.peers.{peer}_iql", folder]
    return {
        name: Worker(name, command, threads, folder / f"{name}.log")
        for name, command in commands.items()
    }


def shapes(task: Task) -> dict[str, list[int]]:
    """Return the shapes of the data, by field."""
    return {n: list(item.shape) for n, item in task.arrays.items() if n.startswith("data.")}


def seeds_of(name: str) -> int:
    """Return how many seeds a candidate trains at once."""
    return int(name.rpartition(" ")[2]) if " " in name else 1


def rows_of(
    workers: Mapping[str, Worker], rates: Mapping[str, Sequence[float]], errors: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Return the table, one row per candidate, and print it."""
    rows = []
    for name, worker in workers.items():
        mode = name.split(" ")[1] if " " in name else "float32"
        row: dict[str, Any] = {
            "name": name,
            "products": describe_products(mode),
            "seeds": seeds_of(name),
            "updates_per_s": quartiles([rate / seeds_of(name) for rate in rates[name]]),
            "seed_updates_per_s": quartiles(rates[name]),
            "share_of_float32_floor": ratio(rates, name, FLOOR),
            "ratio_of_ours_to_it": ratio(rates, OURS, name),
            "cold_start_s": worker.cold_start_s,
            "peak_memory_mib": worker.peak_memory_mib(),
            "error_after_one_update": errors.get(name),
            "versions": worker.versions,
        }
        rows.append(row)
        rate = row["seed_updates_per_s"]
        print(
            f"{name:16} {rate['median']:6.0f} seed-updates/s ({rate['q25']:.0f} to "
            f"{rate['q75']:.0f}), {row['share_of_float32_floor']:.2f} of the floor; ours is "
            f"{row['ratio_of_ours_to_it']:.2f} times it; ready after {worker.cold_start_s:.1f} s"
        )
    return rows


def bars_of(rates: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    """Return the ratios that this benchmark is to show, and print them."""
    found = []
    for name, other, least in BARS:
        if other not in rates:
            continue
        value = ratio(rates, name, other)
        found.append({"of": name, "to": other, "ratio": value, "wanted": least})
        print(f"{name} / {other}: {value:.2f}, wanted {least}")
    return found


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Start the workers, check them, let them take turns; return the result."""
    task = make_task(options.threads)
    save_task(folder, task)
    workers = start_workers(options.peers, folder, options.environments, options.threads)
    try:
        errors = check(task, workers, folder)
        print("one update, largest relative error:", {k: f"{v:.0e}" for k, v in errors.items()})
        counts = {name: updates_for(worker, options.seconds) for name, worker in workers.items()}
        turns = {
            name: partial(measured, worker, counts[name], seeds_of(name))
            for name, worker in workers.items()
        }
        before = calibrate()
        rates = take_turns(options.rounds, turns)
        after = calibrate()
        drift = abs(after - before) / before
        if drift > DRIFT:
            print(f"the machine was not quiet: its products changed by {drift:.0%}")
        return {
            "task": {**task.settings, **shapes(task)},
            "calibration_gflop_per_s": {"before": before, "after": after, "drift": drift},
            "rows": rows_of(workers, rates, errors),
            "bars": bars_of(rates),
            "updates_per_turn": counts,
            "seed_updates_per_s_every_round": rates,
        }
    finally:
        for worker in workers.values():
            worker.close()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=PEERS)
    parser.add_argument(
        "--environments", type=Path, default=Path(os.environ.get("BENCH_ENVIRONMENTS", ".bench"))
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.5, help="per candidate and round")
    parser.add_argument("--threads", type=int, default=min(2, CORES))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/iql.json"))
    options = parser.parse_args(arguments)
    # Workers inherit the cores; a library that counts cores then finds as many as all others.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    torch.set_num_threads(options.threads)
    about = machine(("torch", "numpy"))
    print(f"load {about['load_before']:.2f} on {CORES} cores; threads {options.threads}")
    worst = check_equivalence()
    print(f"equivalent: ours and plain torch differ by {worst:.1e} after 3 updates")
    with tempfile.TemporaryDirectory() as folder:
        result = measure(options, Path(folder))
    settings = {
        "rounds": options.rounds,
        "seconds_per_turn": options.seconds,
        "equivalence_of_ours": worst,
    }
    write_result(options.out, "iql", about, settings | result)


if __name__ == "__main__":
    main()
