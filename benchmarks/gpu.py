"""How fast one IQL update is on a GPU, beside a plain eager loop: one command, one table.

    python -m benchmarks.gpu [--device cuda] [--seconds 2] [--rounds 5] [--out FILE]

It needs torch, numpy, safetensors and this repository, and takes under 8 minutes. Sizes are those
of HalfCheetah (observations of 17, actions of 6), two hidden layers of 256, batches of 256, strict
float32, the data resident on the device, no logging. Candidates, for 1, 8 and 32 stacked seeds: our
update eagerly, as a CUDA graph of 64 updates, and the same after ``torch.compile``; beside them the
plain eager loop that single-file libraries use (``benchmarks/plain.py``), a graph that may use
TF32, and data streamed from the host.

Before anything is timed: graph and compiled updates must equal eager ones in float64, a replay must
move the weights (a stale graph), and the losses of two replays must differ (frozen indices). They
take turns round by round. Medians, lowest and highest are printed. Without a GPU, ``--device cpu``
runs the same code without graphs, for the tests.

Where open_clip is installed, a second table tells how many frames per second become CLIP vectors on
the GPU, in strict float32 and under bf16 autocast: by the embedded model from 96x96 frames in the
host's memory, and by ViT-B/32 with random weights from pictures of 224 pixels on the device.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.plain import (
    ACTION,
    CONFIG,
    OBSERVATION,
    TOTAL_STEPS,
    Buffer,
    PlainIQL,
    random_data,
)
from embodied.engine.stream import StreamedData
from policies.iql import IQL

SEEDS = (1, 8, 32)
KINDS = ("eager", "graph", "compiled graph")
BARS = {("best", 1): 6_500.0, ("best", 32): 55_000.0}  # seed-updates per second on an H200
TOLERANCE = 1e-9  # relative difference of a network after three blocks of updates, in float64


def learner(kind: str, seeds: int, device: str, dtype: torch.dtype = torch.float32) -> IQL:
    """Return a learner that updates in the way that ``kind`` names."""
    made = IQL(
        CONFIG,
        OBSERVATION,
        ACTION,
        range(seeds),
        TOTAL_STEPS,
        device,
        dtype,
        compiled=kind.startswith("compiled"),
    )
    if kind == "eager":
        made.program.captured = False
    return made


def check(kind: str, device: str) -> float:
    """Stop unless a kind of update equals the eager one; return the largest difference.

    In float64: in float32 one rounding grows a thousandfold over so many updates.
    """
    data = random_data(2, device=device)
    ours, eager = (learner(item, 2, device, torch.float64) for item in (kind, "eager"))
    block, losses = eager.program.block, []
    before: dict[str, torch.Tensor] = {}
    for _ in range(3):  # the first block warms up, the second is captured, the third replayed
        before = ours.state_dict()
        losses.append(ours.update(data, block)["critic/loss"])
        eager.update(data, block)
    after, expected = ours.state_dict(), eager.state_dict()
    worst = 0.0
    for key in ("actor.flat", "critic.flat", "value.flat", "target.critic"):
        worst = max(worst, float((after[key] - expected[key]).norm() / expected[key].norm()))
        if torch.equal(after[key], before[key]):
            raise SystemExit(f"{kind}: a replay did not move {key}; nothing was measured")
    if torch.equal(losses[1], losses[2]):
        raise SystemExit(f"{kind}: two replays had the same losses; nothing was measured")
    if not worst <= TOLERANCE:
        raise SystemExit(f"{kind} differs from eager updates by {worst:.1e}; nothing was measured")
    return worst


def synchronise(device: str) -> None:
    """Wait until the device is through with its work."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def rate(
    run: Callable[[int], object], seeds: int, block: int, seconds: float, device: str
) -> float:
    """Return seed-updates per second over a window of about ``seconds``."""
    synchronise(device)
    done, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        run(block)
        done += block
        if done % (16 * block) == 0:
            synchronise(device)  # so that the host does not run far ahead of the window
    synchronise(device)
    return seeds * done / (time.perf_counter() - begin)


def candidates(
    device: str, seeds: tuple[int, ...]
) -> dict[str, tuple[int, int, Callable[..., Any]]]:
    """Return ``<kind> <seeds>`` -> (seeds, updates per call, the call)."""
    found: dict[str, tuple[int, int, Callable[..., Any]]] = {}
    data = random_data(1, device=device)
    peer = PlainIQL(IQL(CONFIG, OBSERVATION, ACTION, [0], TOTAL_STEPS, device))
    buffer = Buffer(data)

    def plain(count: int) -> None:
        for _ in range(count):
            peer.update(buffer.sample())

    found["plain eager loop 1"] = (1, 16, plain)
    for count in seeds:
        stacked = random_data(count, device=device)
        for kind in KINDS:
            made = learner(kind, count, device)
            found[f"{kind} {count}"] = (count, made.program.block, partial(made.update, stacked))
    streamed = StreamedData(random_data(1), device)
    made = learner("graph", 1, device)
    # Several blocks a call, so that the next is fetched while one is being used, as ``train`` does.
    found["graph, streamed data 1"] = (1, 16 * made.program.block, partial(made.update, streamed))
    return found


def tf32(run: Callable[[int], object]) -> Callable[[int], None]:
    """Return a call that may round the factors of its products to TF32."""

    def call(count: int) -> None:
        torch.backends.cuda.matmul.allow_tf32 = True
        try:
            run(count)
        finally:
            torch.backends.cuda.matmul.allow_tf32 = False

    return call


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return every candidate's rates, after the checks."""
    device, seeds = options.device, tuple(options.seeds)
    torch.backends.cuda.matmul.allow_tf32 = False
    differences = {kind: check(kind, device) for kind in KINDS[1:]}
    print("equal to eager updates:", ", ".join(f"{k} {v:.1e}" for k, v in differences.items()))
    made = candidates(device, seeds)
    if device.startswith("cuda"):
        for count in seeds:  # captured under TF32, so the products of the graph are of that kind
            fast, data = learner("graph", count, device), random_data(count, device=device)
            call = tf32(partial(fast.update, data))
            made[f"graph, TF32 {count}"] = (count, fast.program.block, call)
    cold: dict[str, float] = {}
    for name, (_, block, run) in made.items():
        begin = time.perf_counter()
        for _ in range(3):
            run(block)
        synchronise(device)
        cold[name] = time.perf_counter() - begin
    rates: dict[str, list[float]] = {name: [] for name in made}
    for _ in range(options.rounds):
        for name, (count, block, run) in made.items():
            rates[name].append(rate(run, count, block, options.seconds, device))
    return {"differences": differences, "first_three_blocks_s": cold, "rates": rates}


def clip_candidates(device: str, count: int) -> dict[str, Callable[[], Any]]:
    """Return ``<model> <precision>`` -> a call that encodes ``count`` pictures."""
    import numpy as np
    import open_clip

    from rewards.embedding.clip import Clip, for_inference

    embedded = Clip.load(device=device)
    frames = np.random.default_rng(0).integers(0, 256, (count, 96, 96, 3), dtype=np.uint8)
    tower = for_inference(open_clip.create_model("ViT-B-32", pretrained=None, device=device))
    pictures = torch.randn(count, 3, 224, 224, device=device)
    makers: dict[str, Callable[[], Any]] = {
        "embedded CLIP": lambda: embedded.encode(frames),
        "ViT-B/32": lambda: tower.encode_image(pictures, normalize=True),
    }

    def run(make: Callable[[], Any], autocast: bool) -> Any:
        kind = torch.device(device).type
        lower = torch.autocast(kind, torch.bfloat16) if autocast else nullcontext()
        with torch.inference_mode(), lower:
            return make()

    return {
        f"{name} {precision}": partial(run, make, precision == "bf16")
        for name, make in makers.items()
        for precision in ("float32", "bf16")
    }


def measure_clip(
    device: str, seconds: float, rounds: int, count: int = 256
) -> dict[str, list[float]]:
    """Return frames per second of every way to encode pictures, per round, and print them."""
    # A GPU's convolutions round to TF32 unless told not to.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    made = clip_candidates(device, count)
    rates: dict[str, list[float]] = {name: [] for name in made}
    for _ in range(3):  # chooses kernels
        for run in made.values():
            run()
    for _ in range(rounds):
        for name, run in made.items():
            # ``rate`` hands over a number of updates; a call here is always one batch.
            rates[name].append(rate(lambda _, run=run: run(), count, 1, seconds, device))
    print(f"{'':28}{'frames/s':>16}{'lowest':>10}{'highest':>10}")
    for name, values in rates.items():
        middle = statistics.median(values)
        print(f"{name:28}{middle:16,.0f}{min(values):10,.0f}{max(values):10,.0f}")
    return rates


def clip_rates(options: argparse.Namespace) -> dict[str, list[float]] | None:
    """Return the rates of CLIP; None, with a line that says why, where they cannot be had."""
    if not options.device.startswith("cuda"):
        return None
    try:
        import open_clip  # noqa: F401 (only whether it is there)
    except ImportError:
        print("CLIP was left out: open_clip is not installed")
        return None
    return measure_clip(options.device, options.seconds, options.rounds)


def table(rates: dict[str, list[float]]) -> str:
    """Return the medians, the ratio to the plain loop, and the bars."""
    peer = statistics.median(rates["plain eager loop 1"])
    lines = [f"{'':28}{'seed-updates/s':>16}{'lowest':>10}{'highest':>10}{'x plain':>9}"]
    for name, values in rates.items():
        middle = statistics.median(values)
        lines.append(
            f"{name:28}{middle:16,.0f}{min(values):10,.0f}{max(values):10,.0f}{middle / peer:9.1f}"
        )
    for (_, seeds), bar in BARS.items():
        strict = [f"{kind} {seeds}" for kind in KINDS if f"{kind} {seeds}" in rates]
        if strict:
            best = max(strict, key=lambda name: statistics.median(rates[name]))
            reached = statistics.median(rates[best])
            lines.append(f"S={seeds}: {reached:,.0f}/s by {best}; the bar on an H200 is {bar:,.0f}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=2.0, help="per candidate and round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        raise SystemExit("torch sees no GPU; --device cpu runs the same code without graphs")
    begin = time.perf_counter()
    found = measure(options)
    print(table(found["rates"]))
    found["clip_frames_per_s"] = clip_rates(options)
    cuda = options.device.startswith("cuda")
    result = {
        "command": " ".join(["python -m benchmarks.gpu", *sys.argv[1:]]),
        "machine": {
            "device": torch.cuda.get_device_name() if cuda else platform.processor(),
            "load": os.getloadavg()[0],
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "peak_device_bytes": torch.cuda.max_memory_allocated() if cuda else None,
        "wall_s": time.perf_counter() - begin,
        **found,
    }
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"{result['wall_s']:.0f} s in all")


if __name__ == "__main__":
    main()
