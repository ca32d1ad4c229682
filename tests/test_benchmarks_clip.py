"""The speed of CLIP vectors, at a size that proves nothing but that it is measured."""

import argparse
import json

import numpy as np
import pytest
import torch

pytest.importorskip("open_clip", reason="open_clip is not installed")

from benchmarks import clip_speed, gpu


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch):
    monkeypatch.setattr("sys.argv", ["benchmark"])
    threads = torch.get_num_threads()
    tf32 = (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)
    yield
    torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = tf32


def test_it_is_measured_beside_open_clip_and_written(tmp_path, capsys):
    out = tmp_path / "result.json"
    tiny = {"frames": 4, "rounds": 1, "threads": 1, "vit-frames": 1, "out": out}
    clip_speed.main([text for key, value in tiny.items() for text in (f"--{key}", str(value))])
    result = json.loads(out.read_text())
    assert [row["size"] for row in result["beside_open_clip"]] == [[480, 360], [96, 96]]
    for row in result["beside_open_clip"]:
        assert set(row["ratios"]) == {"open_clip 0 workers", "open_clip 2 workers"}
        assert min(row["least_cosine"].values()) >= 0.999
        assert row["ratio_to_better_peer"] == row["ratios"][row["better_peer"]] > 0.0
        assert row["frames_per_s"]["ours"]["median"] > 0.0
        assert all(len(values) == 1 for values in row["frames_per_s_every_round"].values())
    # 49 patches and one more, 12 layers of width 768: 4.4 G multiply-adds.
    assert result["vit"]["gflop_per_frame"] == pytest.approx(8.8, rel=0.05)
    assert 0.0 < result["vit"]["share_of_peak"] < 1.0
    assert len(result["model_sha256"]) == 64
    assert "least cosine" in capsys.readouterr().out


def test_other_vectors_are_not_measured():
    expected = torch.eye(3)
    assert clip_speed.least_cosine(np.eye(3, dtype=np.float32), expected) == 1.0
    with pytest.raises(SystemExit, match="nothing was measured"):
        clip_speed.least_cosine(np.eye(3, dtype=np.float32)[[0, 1, 0]], expected)
    with pytest.raises(SystemExit, match="nothing was measured"):
        clip_speed.least_cosine(np.full((3, 3), np.nan, np.float32), expected)


def test_the_rows_of_a_gpu_run_without_one_and_are_left_out_there(capsys):
    rates = gpu.measure_clip("cpu", seconds=0.001, rounds=1, count=1)
    assert all(value > 0.0 for values in rates.values() for value in values)
    assert set(rates) == {
        f"{model} {kind}" for model in ("embedded CLIP", "ViT-B/32") for kind in ("float32", "bf16")
    }
    assert "ViT-B/32 bf16" in capsys.readouterr().out
    assert gpu.clip_rates(argparse.Namespace(device="cpu")) is None
