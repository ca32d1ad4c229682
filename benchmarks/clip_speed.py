"""How fast camera frames become CLIP vectors on a CPU, beside open_clip's own way of doing it.

    python -m benchmarks.clip_speed [--frames 1024] [--rounds 5] [--threads 2] [--vit-frames 64]
                                    [--out FILE]

Frames lie in memory as robot cameras give them: uint8 arrays, of 480x360 and of 96x96 pixels. Ours
is ``Clip.encode`` in batches of 256: resized as a batch in whole numbers, batch normalisation gone
into the convolutions. The peer is what open_clip's users write: a ``DataLoader`` over the same
frames with the library's transform (PIL's resize, then ``ToTensor`` and ``Normalize``), in batches
of 256, the same weights loaded by ``open_clip.create_model_and_transforms``; with no worker, with
two kept ones, and the ratio is to the better. Loading models and starting workers is not timed.

Before anything is timed, both must give the same vectors (cosine at least 0.999 for every frame).
They take turns round by round; ratios are medians of per-round ratios. Beside them, the resize and
the network of ours alone tell where the time goes.

The second part is ViT-B/32 with random weights on pictures of its own size, 224: frames per second,
and the share of the highest float32 rate of a matrix product in this process that its FLOPs make.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common import CORES, machine, quartiles, ratio, take_turns, write_result
from rewards.embedding.clip import BATCH, EMBEDDED, Clip, Images, for_inference

SIZES = ((480, 360), (96, 96))  # width, height of the frames
COSINE = 0.999  # between our vectors and the peer's, at least
WANTED = 2.0  # times as fast as the peer, for frames of a camera
WORKERS = (0, 2)  # processes of the peer's loader
PRODUCTS = (512, 1024, 2048)  # sizes of square matrix products, for the machine's peak
VIT = "ViT-B-32"


class Frames(Dataset[torch.Tensor]):
    """The peer's data: a frame, through open_clip's transform."""

    def __init__(self, frames: Images, transform: Callable[[Any], torch.Tensor]) -> None:
        self.frames, self.transform = frames, transform

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, row: int) -> torch.Tensor:
        from PIL import Image

        return self.transform(Image.fromarray(self.frames[row]))


class Peer:
    """open_clip with its own transform behind a loader, whose workers stay for the next turn."""

    def __init__(self, model: Any, transform: Any, frames: Images, workers: int) -> None:
        self.model = model
        data = Frames(frames, transform)
        self.loader = DataLoader(data, BATCH, num_workers=workers, persistent_workers=workers > 0)

    def encode(self) -> torch.Tensor:
        """Return the vectors of all frames, in order."""
        with torch.inference_mode():
            found = [self.model.encode_image(batch, normalize=True) for batch in self.loader]
        return torch.cat(found)


def camera_frames(size: tuple[int, int], count: int) -> Images:
    """Return frames with areas, edges and noise, each different, as cameras give them."""
    width, height = size
    rng = np.random.default_rng(0)
    found = np.empty((count, height, width, 3), np.uint8)
    noise = rng.integers(0, 12, (height, width, 3), dtype=np.uint8)
    for frame in found:
        frame[:] = noise + rng.integers(0, 200, 3, dtype=np.uint8)
        for _ in range(6):
            top, left = rng.integers(height * 3 // 4), rng.integers(width * 3 // 4)
            area = frame[top : top + height // 3, left : left + width // 4]
            area[:] = rng.integers(0, 256, 3)
    return found


def batches(frames: Images) -> Iterator[Images]:
    for first in range(0, len(frames), BATCH):
        yield frames[first : first + BATCH]


def ours(model: Clip, frames: Images) -> np.ndarray:
    return np.concatenate([model.encode(batch) for batch in batches(frames)])


def prepared_only(model: Clip, frames: Images) -> None:
    for batch in batches(frames):
        model.prepared(batch)


def network_only(model: Clip, ready: list[torch.Tensor]) -> None:
    with torch.inference_mode():
        for batch in ready:
            model._model.encode_image(batch, normalize=True)


def rate(run: Callable[[], Any], count: int) -> float:
    """Return frames per second of one turn."""
    begin = time.perf_counter()
    run()
    return count / (time.perf_counter() - begin)


def least_cosine(found: Any, expected: torch.Tensor) -> float:
    """Return the smallest cosine of two frames' vectors; stop where they are not the same."""
    least = float((torch.as_tensor(found) * expected).sum(1).min())
    if not least >= COSINE:
        raise SystemExit(f"ours and open_clip differ: cosine {least:.5f}; nothing was measured")
    return least


def beside_open_clip(size: tuple[int, int], count: int, rounds: int) -> dict[str, Any]:
    """Measure ours and the peer on frames of a size, and print it."""
    import open_clip

    frames, model = camera_frames(size, count), Clip.load(EMBEDDED)
    loaded, _, transform = open_clip.create_model_and_transforms(
        f"local-dir:{EMBEDDED}", require_pretrained=True
    )
    peers = {f"open_clip {n} workers": Peer(loaded.eval(), transform, frames, n) for n in WORKERS}
    cosines = {
        name: least_cosine(ours(model, frames), peer.encode()) for name, peer in peers.items()
    }
    print(f"{size[0]}x{size[1]}: least cosine {min(cosines.values()):.6f} over {count} frames")
    ready = [model.prepared(batch) for batch in batches(frames)]
    runs: dict[str, Callable[[], Any]] = {
        "ours": partial(ours, model, frames),
        **{name: peer.encode for name, peer in peers.items()},
        "ours, resize alone": partial(prepared_only, model, frames),
        "ours, network alone": partial(network_only, model, ready),
    }
    rates = take_turns(rounds, {name: partial(rate, run, count) for name, run in runs.items()})
    rows = {name: quartiles(values) for name, values in rates.items()}
    better = max(peers, key=lambda name: rows[name]["median"])
    for name, row in rows.items():
        print(f"  {name:22} {row['median']:8.0f} frames/s ({row['q25']:.0f} to {row['q75']:.0f})")
    print(f"  ours / {better}: {ratio(rates, 'ours', better):.2f}")
    return {
        "size": list(size),
        "frames": count,
        "least_cosine": cosines,
        "frames_per_s": rows,
        "better_peer": better,
        "ratio_to_better_peer": ratio(rates, "ours", better),
        "ratios": {name: ratio(rates, "ours", name) for name in peers},
        "frames_per_s_every_round": rates,
    }


def best_product(seconds: float = 0.3) -> dict[str, float]:
    """Return the highest float32 rate in GFLOP/s of each size of product."""
    found = {}
    for size in PRODUCTS:
        left, right, out = (torch.randn(size, size) for _ in range(3))
        fastest, until = float("inf"), time.perf_counter() + seconds
        while time.perf_counter() < until:
            begin = time.perf_counter()
            torch.mm(left, right, out=out)
            fastest = min(fastest, time.perf_counter() - begin)
        found[str(size)] = 2 * size**3 / fastest / 1e9
    return found


def flops(tower: Any, picture: torch.Tensor) -> float:
    """Return the FLOPs of one picture."""
    # Without these, attention is one fused kernel that the counter does not know on a CPU.
    kernels = [torch.nn.attention.SDPBackend.MATH]
    with torch.no_grad(), torch.nn.attention.sdpa_kernel(kernels):
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            with FlopCounterMode(display=False) as counter:
                tower(picture)
        finally:
            torch.backends.mha.set_fastpath_enabled(True)
    return float(counter.get_total_flops())


def vit(count: int, rounds: int) -> dict[str, Any]:
    """Measure ViT-B/32 with random weights, beside the machine's matrix products."""
    import open_clip

    torch.manual_seed(0)
    model = for_inference(open_clip.create_model(VIT, pretrained=None))
    pictures = torch.randn(count, 3, 224, 224)
    each = flops(model.visual, pictures[:1])

    def encode() -> None:
        with torch.inference_mode():
            model.encode_image(pictures, normalize=True)

    products: list[dict[str, float]] = []

    def product() -> float:
        products.append(best_product())
        return max(products[-1].values())

    turns: Mapping[str, Callable[[], float]] = {
        "gflop_per_s": lambda: rate(encode, count) * each / 1e9,
        "peak_gflop_per_s": product,
    }
    rates = take_turns(rounds, turns)
    share = float(np.median(rates["gflop_per_s"]) / max(rates["peak_gflop_per_s"]))
    speed = quartiles([value * 1e9 / each for value in rates["gflop_per_s"]])
    print(f"{VIT}: {speed['median']:.1f} frames/s, {share:.2f} of the best float32 product")
    return {
        "model": VIT,
        "frames": count,
        "gflop_per_frame": each / 1e9,
        "frames_per_s": speed,
        "peak_gflop_per_s": max(rates["peak_gflop_per_s"]),
        "share_of_peak": share,
        "every_round": rates,
        "products_gflop_per_s": products,
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=1024, help="give each worker several batches")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=min(2, CORES))
    parser.add_argument("--vit-frames", type=int, default=64, help="0 leaves ViT-B/32 out")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/clip_speed.json"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    about = machine(("torch", "torchvision", "open_clip_torch", "pillow", "numpy"))
    print(f"load {about['load_before']:.2f} on {CORES} cores; threads {options.threads}")
    sizes = [beside_open_clip(size, options.frames, options.rounds) for size in SIZES]
    result = {
        "model_sha256": Clip.load(EMBEDDED).sha256,
        "threads": options.threads,
        "rounds": options.rounds,
        "batch": BATCH,
        "wanted": {"size": list(SIZES[0]), "ratio_to_better_peer": WANTED},
        "beside_open_clip": sizes,
        "vit": vit(options.vit_frames, options.rounds) if options.vit_frames else None,
    }
    write_result(options.out, "clip_speed", about, result)


if __name__ == "__main__":
    main()
