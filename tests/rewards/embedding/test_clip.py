"""CLIP-like models from a folder: equal to open_clip's own path, batch by batch and faster."""

import json
import socket

import numpy as np
import pytest
import torch

open_clip = pytest.importorskip("open_clip", reason="open_clip is not installed")

from benchmarks import small_clip  # noqa: E402 (needs open_clip)
from embodied.errors import UserError  # noqa: E402
from embodied.frames import make_frames  # noqa: E402
from rewards.embedding import clip as module  # noqa: E402
from rewards.embedding.clip import CONFIG, TOKENIZER, WEIGHTS, Clip  # noqa: E402
from sim.captions import TOPICS, captions  # noqa: E402
from sim.cartpole.task import CartPoleTask  # noqa: E402

SIZE = 64
VISION = {
    "resnet": {"layers": [1, 1, 1, 1], "width": 8, "image_size": SIZE},
    "vit": {"layers": 2, "width": 64, "head_width": 32, "patch_size": 16, "image_size": SIZE},
}
SHAPES = [(360, 480), (64, 64), (96, 96), (50, 40)]  # height, width


def write_folder(folder, kind):
    """Write a random model, in the form of the embedded one."""
    model = {**small_clip.MODEL, "embed_dim": 32, "vision_cfg": VISION[kind]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small_clip, "MODEL", model)
        patch.setattr(small_clip, "PREPROCESS", {**small_clip.PREPROCESS, "size": SIZE})
        small_clip.write_config(folder)
    torch.manual_seed(0)
    made = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    for part in made.modules():  # as after training; fresh ones would scale by 1, or by 0
        if isinstance(part, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(part.weight, 0.5, 1.5)
            torch.nn.init.normal_(part.bias, std=0.2)
            part.running_mean.normal_(std=0.2)
            part.running_var.uniform_(0.5, 2.0)
    small_clip.write_weights(made, folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {kind: write_folder(tmp_path_factory.mktemp(kind) / kind, kind) for kind in VISION}


@pytest.fixture(params=sorted(VISION))
def folder(request, folders):
    return folders[request.param]


@pytest.fixture
def own(folders, tmp_path):
    """A copy of a model folder, to damage."""
    for path in folders["vit"].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def pictures(kind, shape, count=4):
    """Noise, or smooth areas with sharp edges as a renderer draws them."""
    rng = np.random.default_rng(3)
    height, width = shape
    if kind == "noise":
        return rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    found = np.empty((count, height, width, 3), np.uint8)
    shade = np.linspace(0, 60, height)[:, None, None]
    for image in found:
        image[:] = rng.integers(0, 190, 3) + shade
        for _ in range(4):
            top, left = rng.integers(height * 3 // 4), rng.integers(width * 3 // 4)
            image[top : top + height // 3, left : left + width // 4] = rng.integers(0, 256, 3)
    return found


def by_open_clip(folder, images):
    """Vectors of open_clip alone: pictures one by one through its PIL transform."""
    from PIL import Image

    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    with torch.inference_mode():
        batch = torch.stack([transform(Image.fromarray(image)) for image in images])
        return model.eval().encode_image(batch, normalize=True).numpy()


def test_a_loaded_model_tells_what_it_is(folder):
    model = Clip.load(folder)
    assert model.name == folder.name
    assert model.size == SIZE
    assert len(model.sha256) == 64
    texts = model.texts(["balance the pole upright on the cart", "the pole is upright"])
    assert texts.shape == (2, 32)
    assert texts.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(texts, axis=1), 1.0, rtol=1e-5)


def test_image_vectors_are_unit_and_do_not_depend_on_the_batch(folder):
    model = Clip.load(folder)
    images = pictures("rendered", (96, 96), 5)
    together = model.encode(images)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, rtol=1e-5)
    alone = np.concatenate([model.encode(images[[row]]) for row in range(5)])
    np.testing.assert_allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["noise", "rendered"])
def test_image_vectors_are_those_of_open_clip(folder, kind, shape):
    images = pictures(kind, shape)
    ours, theirs = Clip.load(folder).encode(images), by_open_clip(folder, images)
    assert ((ours * theirs).sum(1) >= 0.999).all()
    # Random networks see all pictures much alike: the error is small beside their differences too.
    apart = np.linalg.norm(theirs[:, None] - theirs, axis=-1)[~np.eye(len(theirs), dtype=bool)]
    assert np.linalg.norm(ours - theirs, axis=1).max() < 0.1 * np.median(apart)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["noise", "rendered"])
def test_pictures_are_resized_as_pil_does_it_but_for_rounding(folders, kind, shape):
    from PIL import Image

    images = pictures(kind, shape)
    model = Clip.load(folders["vit"])
    ours = model.prepared(images) * model._std + model._mean
    for image, found in zip(images, ours.permute(0, 2, 3, 1).numpy(), strict=True):
        resized = Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        assert np.abs(found * 255 - np.asarray(resized, np.float64)).max() < 1.6


def test_without_batch_normalisation_the_model_says_the_same(folders):
    folder = folders["resnet"]
    plain = open_clip.create_model(f"local-dir:{folder}").eval()
    fused = Clip.load(folder)
    left = [m for m in fused._model.visual.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert not left
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in plain.visual.modules())
    x = fused.prepared(pictures("noise", (SIZE, SIZE)))
    with torch.inference_mode():
        expected = plain.encode_image(x)
        torch.testing.assert_close(fused._model.encode_image(x), expected, rtol=1e-3, atol=1e-4)


class Counted:
    """Counts the pictures that are computed."""

    def __init__(self, model, monkeypatch):
        self.batches, encode = [], model.encode
        monkeypatch.setattr(
            model, "encode", lambda images: self.batches.append(len(images)) or encode(images)
        )


def test_a_picture_is_computed_once_and_the_order_is_kept(folders, monkeypatch):
    model = Clip.load(folders["vit"])
    images = pictures("noise", (SIZE, SIZE), 5)
    expected = model.encode(images)
    counted = Counted(model, monkeypatch)
    order = [2, 0, 2, 1, 0]
    np.testing.assert_allclose(model.images(images[order]), expected[order], atol=1e-5)
    assert counted.batches == [3]
    np.testing.assert_allclose(model.images(images[::-1]), expected[::-1], atol=1e-5)
    assert counted.batches == [3, 2]
    model.images(images)
    assert counted.batches == [3, 2]


def test_many_pictures_are_computed_in_batches(folders, monkeypatch):
    model = Clip.load(folders["vit"])
    images = pictures("noise", (SIZE, SIZE), 5)
    expected = model.encode(images)
    monkeypatch.setattr(module, "BATCH", 2)
    counted = Counted(model, monkeypatch)
    np.testing.assert_allclose(model.images(images), expected, atol=1e-5)
    assert counted.batches == [2, 2, 1]


def test_pictures_of_equal_bytes_and_other_shapes_are_told_apart(folders):
    model = Clip.load(folders["vit"])
    flat = pictures("noise", (32, 128), 1)
    tall = flat.reshape(1, 128, 32, 3)
    model.images(flat)
    np.testing.assert_allclose(model.images(tall), model.encode(tall), atol=1e-5)


def test_only_the_last_pictures_are_kept(folders, monkeypatch):
    model = Clip.load(folders["vit"])
    monkeypatch.setattr(module, "MAX_KEPT", 3)
    images = pictures("noise", (SIZE, SIZE), 5)
    expected = model.encode(images)
    counted = Counted(model, monkeypatch)
    np.testing.assert_allclose(model.images(images), expected, atol=1e-5)
    assert len(model._kept) == 3
    model.images(images[2:])  # the last three
    assert counted.batches == [5]
    np.testing.assert_allclose(model.images(images), expected, atol=1e-5)
    assert counted.batches == [5, 2]


def test_words_that_the_model_never_read_are_told(own):
    assert Clip.load(own).unknown_words("Balance the banana, upright zebra!") == ["banana", "zebra"]
    assert Clip.load(own).unknown_words("the pole is upright") == []
    tokenizer = json.loads((own / TOKENIZER).read_text())
    tokenizer["model"]["type"] = "BPE"  # spells any word
    assert module._vocabulary(own) is not None
    (own / TOKENIZER).write_text(json.dumps(tokenizer))
    assert module._vocabulary(own) is None


def edited(change):
    def damage(folder):
        config = json.loads((folder / CONFIG).read_text())
        change(config)
        (folder / CONFIG).write_text(json.dumps(config))

    return damage


DAMAGED = {
    "no config": lambda folder: (folder / CONFIG).unlink(),
    "no weights": lambda folder: (folder / WEIGHTS).unlink(),
    "no tokenizer": lambda folder: (folder / TOKENIZER).unlink(),
    "empty weights": lambda folder: (folder / WEIGHTS).write_bytes(b""),
    "half the weights": lambda folder: (folder / WEIGHTS).write_bytes(
        (folder / WEIGHTS).read_bytes()[:5000]
    ),
    "a pickle": lambda folder: torch.save({"a": torch.zeros(2)}, folder / WEIGHTS),
    "no JSON": lambda folder: (folder / CONFIG).write_text("{"),
    "another JSON": lambda folder: (folder / CONFIG).write_text("[1]"),
    "no architecture": edited(lambda config: config.pop("model_cfg")),
    "another width": edited(lambda config: config["model_cfg"]["vision_cfg"].update(width=32)),
    "unknown architecture": edited(lambda config: config["model_cfg"].update(vision_cfg=3)),
    "no preprocessing": edited(lambda config: config.update(preprocess_cfg={})),
    "another preprocessing": edited(lambda config: config.update(preprocess_cfg=[1])),
    "no size": edited(lambda config: config["preprocess_cfg"].update(size="large")),
    "a mean of one": edited(lambda config: config["preprocess_cfg"].update(mean=[0.5])),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_folder_is_told_in_one_line(own, damage):
    DAMAGED[damage](own)
    with pytest.raises(UserError) as told:
        Clip.load(own)
    assert "\n" not in str(told.value)
    assert str(own) in str(told.value)


def test_nothing_is_fetched(own, monkeypatch):
    asked = []

    def refuse(*arguments, **_):
        asked.append(arguments)
        raise OSError("no network in this test")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    Clip.load(own).texts(["the pole is upright"])
    DAMAGED["no tokenizer"](own)
    with pytest.raises(UserError):
        Clip.load(own)
    assert not asked


def test_the_embedded_model_is_small_and_knows_its_captions():
    model = Clip.load()
    assert sum(path.stat().st_size for path in module.EMBEDDED.iterdir()) <= 12 * 2**20
    assert (
        model.texts(["the pole is upright"]).shape
        == model.encode(pictures("rendered", (model.size, model.size), 1)).shape
    )
    for task in TOPICS:
        for caption in captions(task):
            assert model.unknown_words(caption.text) == []


@pytest.mark.parametrize("look", [1, 2, 3])
def test_the_embedded_model_tells_upright_poles_from_fallen_ones(look):
    task, rng, count = CartPoleTask(), np.random.default_rng(look), 60
    upright, fallen = np.radians(rng.uniform(0, 3, count)), np.radians(rng.uniform(24, 30, count))
    angle = np.concatenate([upright, fallen]) * rng.choice([-1, 1], 2 * count)
    state = {name: np.zeros(2 * count) for name in task.fields} | {
        "pole_angle": angle,
        "cart_position": rng.uniform(-1, 1, 2 * count),
    }
    model = Clip.load()
    seen = model.images(make_frames(task, look=look)(state))
    similarity = seen @ model.texts([task.instruction])[0]
    right = similarity[:count, None] > similarity[None, count:]  # of every pair
    assert right.mean() >= 0.9
