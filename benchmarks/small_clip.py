"""Make, train and judge the embedded CLIP of ``rewards/embedding/small_clip``.

    python -m benchmarks.small_clip data FOLDER      # pictures
    python -m benchmarks.small_clip train FOLDER     # the model
    python -m benchmarks.small_clip judge            # held-out figures

An open_clip architecture (a ResNet that ends in attention, a small text transformer) learns from
captions that are made from the simulator's state. The loss is CLIP's contrastive one with soft
targets: a caption that is slightly wrong is slightly unlikely (``clip_data.soft_targets``), which
makes similarity fall with distance.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from benchmarks import clip_data
from benchmarks.common import ROOT, machine, write_result
from rewards.embedding.clip import EMBEDDED, WEIGHTS, Clip
from rewards.gate.correlation import rank_correlation

SCENES = {"cartpole": 20_000, "reach": 40_000, "push": 40_000}
HELD_OUT = 2_000  # pictures of each scene
SEED_OF_HELD_OUT = 10_000
BATCH, EPOCHS, RATE, WEIGHT_DECAY = 256, 4, 2e-3, 0.05
MODEL = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": clip_data.SIZE, "layers": [1, 1, 1, 1], "width": 16},
    "text_cfg": {
        "context_length": 16,
        "vocab_size": 0,  # that of the captions' words
        "width": 96,
        "heads": 4,
        "layers": 2,
        "hf_tokenizer_name": "local",  # the folder's own
    },
}
PREPROCESS = {
    "size": clip_data.SIZE,
    "mode": "RGB",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
    "interpolation": "bicubic",
    "resize_mode": "squash",
}


def make_data(folder: Path) -> None:
    """Write the training pictures, a file for each scene."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (task, count) in enumerate(SCENES.items()):
        started = time.monotonic()
        images, values = clip_data.make(task, count, "training", seed)
        np.save(folder / f"{task}.npy", images)
        np.savez(folder / f"{task}.npz", **values)
        print(f"{task}: {count} pictures in {time.monotonic() - started:.0f} s", flush=True)


def write_config(folder: Path) -> None:
    """Write architecture, preprocessing and tokenizer in the form that open_clip reads."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    words = sorted({w for _, item in clip_data.all_captions() for w in item.text.split()})
    # The end has the largest number: open_clip takes the text's embedding where that is.
    vocabulary = {word: index for index, word in enumerate(["[PAD]", "[UNK]", *words, "[END]"])}
    model = json.loads(json.dumps(MODEL))
    model["text_cfg"]["vocab_size"] = len(vocabulary)
    config = {"model_cfg": model, "preprocess_cfg": PREPROCESS}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A [END]", special_tokens=[("[END]", vocabulary["[END]"])]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "eos_token": "[END]"}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")


def train(folder: Path, target: Path) -> None:
    """Train from random weights and write them as 16-bit safetensors."""
    import open_clip

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    write_config(target)
    model = open_clip.create_model(f"local-dir:{target}", load_weights=False)
    model = model.to(memory_format=torch.channels_last).train()
    texts = open_clip.get_tokenizer(f"local-dir:{target}")(
        [item.text for _, item in clip_data.all_captions()]
    )
    images, goal = read_data(folder)
    steps = EPOCHS * len(goal) // BATCH
    optimiser = torch.optim.AdamW(model.parameters(), RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, steps, pct_start=0.1)
    started = time.monotonic()
    for step in range(steps):
        if step % (len(goal) // BATCH) == 0:
            order = rng.permutation(len(goal))
        at = (step * BATCH) % (len(goal) // BATCH * BATCH)
        rows = np.sort(order[at : at + BATCH])
        batch = augmented(np.stack([images(row) for row in rows]), rng)
        loss = contrast(model, batch, texts, torch.from_numpy(goal[rows]))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=math.log(100))
        if step % 100 == 0:
            scale, spent = model.logit_scale.exp().item(), time.monotonic() - started
            print(f"{step}/{steps} {loss.item():.3f} scale {scale:.1f} {spent:.0f} s", flush=True)
        if step % 500 == 499 or step == steps - 1:
            write_weights(model, target)


def write_weights(model: Any, target: Path) -> None:
    """Write the weights with 16 bits a number; open_clip brings them back to 32."""
    kept = {
        name: (item.half() if item.is_floating_point() else item).contiguous()
        for name, item in model.state_dict().items()
    }
    save_file(kept, target / WEIGHTS)


def read_data(folder: Path) -> tuple[Any, Any]:
    """Return what gives the picture of a row, and the soft targets [N, C] of all rows."""
    parts = [np.load(folder / f"{task}.npy", mmap_mode="r") for task in SCENES]
    edges = np.cumsum([0, *map(len, parts)])
    goals = []
    for task in SCENES:
        with np.load(folder / f"{task}.npz") as kept:
            columns = {name: kept[name] for name in kept.files}
        count = len(next(iter(columns.values())))
        rows = [{name: item[row] for name, item in columns.items()} for row in range(count)]
        goals.append(clip_data.soft_targets([task] * count, rows))

    def image(row: int) -> Any:
        part = int(np.searchsorted(edges, row, side="right")) - 1
        return parts[part][row - edges[part]]

    return image, np.concatenate(goals)


def augmented(images: Any, rng: np.random.Generator) -> torch.Tensor:
    """Return normalised float pictures with changed brightness, contrast and noise."""
    x = images.astype(np.float32) / 255.0
    shape = (len(x), 1, 1, 1)
    x = (x - 0.5) * rng.uniform(0.8, 1.2, shape) + 0.5 + rng.uniform(-0.1, 0.1, shape)
    x = x * rng.uniform(0.9, 1.1, (len(x), 1, 1, 3)) + rng.normal(0, 0.01, x.shape)
    x = (np.clip(x, 0, 1) - PREPROCESS["mean"]) / PREPROCESS["std"]
    tensor = torch.from_numpy(x.astype(np.float32)).permute(0, 3, 1, 2)
    return tensor.contiguous(memory_format=torch.channels_last)


def contrast(
    model: Any, images: torch.Tensor, texts: torch.Tensor, goal: torch.Tensor
) -> torch.Tensor:
    """Return CLIP's loss with soft targets, both ways."""
    image = model.encode_image(images, normalize=True).float()
    text = model.encode_text(texts, normalize=True).float()
    logits = model.logit_scale.exp() * image @ text.T
    of_text = goal / goal.sum(0, keepdim=True).clamp_min(1e-6)
    forth = -(goal * logits.log_softmax(1)).sum(1).mean()
    back = -(of_text * logits.log_softmax(0)).sum(0).mean()
    return (forth + back) / 2


def judge(target: Path) -> None:
    """Measure on held-out looks: the instruction's similarity against the true distance."""
    model, found = Clip.load(target), {}
    for task in SCENES:
        images, values = clip_data.make(task, HELD_OUT, "held_out", SEED_OF_HELD_OUT)
        captions = clip_data.captions(task)
        seen = model.images(images)
        value = np.abs(next(iter(values.values())))
        similarity = seen @ model.texts([captions[0].text])[0]
        best = (seen @ model.texts([item.text for item in captions]).T).argmax(1)
        told = [captions[index] for index in best]
        right = [c.error(values[c.topic][row]) <= 0 for row, c in enumerate(told)]
        near = [c.error(values[c.topic][row]) <= 1.0 for row, c in enumerate(told)]
        found[task] = {
            "instruction": captions[0].text,
            "pictures": HELD_OUT,
            "best_caption_true": float(np.mean(right)),
            "best_caption_within_1": float(np.mean(near)),
            "rank_correlation": float(rank_correlation(similarity, -value)),
            "pair_accuracy_by_decile": pairs_by_decile(similarity, -value),
        }
        print(task, json.dumps(found[task]), flush=True)
    size = sum(path.stat().st_size for path in target.iterdir())
    about = machine(("torch", "open_clip_torch", "numpy", "mujoco"))
    result = {"bytes": size, "sha256": model.sha256, "scenes": found}
    write_result(ROOT / "benchmarks/results/small_clip.json", "small_clip", about, result)


def pairs_by_decile(score: Any, truth: Any) -> list[float]:
    """Return how often the score orders random pairs rightly, by decile of their true gap."""
    rng = np.random.default_rng(0)
    first, second = rng.integers(len(score), size=(2, 20_000))
    gap = np.abs(truth[first] - truth[second])
    right = (score[first] > score[second]) == (truth[first] > truth[second])
    order = np.argsort(gap)
    return [float(right[part].mean()) for part in np.array_split(order, 10)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("data", "train", "judge"))
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--target", type=Path, default=EMBEDDED)
    options = parser.parse_args()
    if options.what == "judge":
        judge(options.target)
    elif options.what == "data":
        make_data(options.folder)
    else:
        train(options.folder, options.target)


if __name__ == "__main__":
    main()
