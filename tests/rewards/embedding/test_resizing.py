"""Ways to resize other than the embedded model's own."""

import json

import numpy as np
import pytest
import torch

from benchmarks import small_clip
from embodied.errors import UserError
from rewards.embedding.clip import Clip

open_clip = pytest.importorskip("open_clip")


@pytest.fixture(name="own")
def _own(tmp_path, monkeypatch):
    model = {**small_clip.MODEL, "embed_dim": 32}
    model["vision_cfg"] = {
        "image_size": 64,
        "layers": 1,
        "width": 32,
        "head_width": 16,
        "patch_size": 16,
    }
    monkeypatch.setattr(small_clip, "MODEL", model)
    monkeypatch.setattr(small_clip, "PREPROCESS", {**small_clip.PREPROCESS, "size": 64})
    small_clip.write_config(tmp_path)
    torch.manual_seed(0)
    made = open_clip.create_model(f"local-dir:{tmp_path}", load_weights=False)
    small_clip.write_weights(made, tmp_path)
    return tmp_path


def pictures(kind, shape):
    return np.random.default_rng(3).integers(0, 256, (3, *shape, 3), dtype=np.uint8)


def by_open_clip(folder, images):
    from PIL import Image

    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    with torch.inference_mode():
        batch = torch.stack([transform(Image.fromarray(image)) for image in images])
        return model.eval().encode_image(batch, normalize=True).numpy()


@pytest.mark.parametrize("shape", [(360, 480), (480, 361), (64, 64), (96, 97)])
@pytest.mark.parametrize(
    "settings",
    [{"resize_mode": "shortest"}, {"resize_mode": "squash", "interpolation": "bilinear"}],
)
def test_other_ways_to_resize_are_those_of_open_clip_too(own, settings, shape):
    path = own / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["preprocess_cfg"] |= settings
    path.write_text(json.dumps(config))
    images = pictures("rendered", shape)
    cosine = (Clip.load(own).encode(images) * by_open_clip(own, images)).sum(1)
    assert cosine.min() >= 0.999


def test_a_way_to_resize_that_is_not_done_here_is_refused(own):
    path = own / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["preprocess_cfg"]["resize_mode"] = "longest"
    path.write_text(json.dumps(config))
    with pytest.raises(UserError, match="longest"):
        Clip.load(own)
