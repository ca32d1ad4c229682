"""CLIP-like models of open_clip, from a local folder: pictures and sentences as unit vectors.

The embedded one (``small_clip``) knows the scenes of this project and the words of its captions;
its card is ``small_clip/README.md``. Any other folder in open_clip's form works the same way.
Nothing is fetched, and weights are safetensors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.utils.fusion import fuse_conv_bn_eval

from embodied.errors import UserError
from embodied.files import read_json, sha256_file

EMBEDDED = Path(__file__).resolve().parent / "small_clip"
WEIGHTS, CONFIG, TOKENIZER = (
    "open_clip_model.safetensors",
    "open_clip_config.json",
    "tokenizer.json",
)
BATCH = 256  # pictures at a time
MAX_KEPT = 200_000  # embeddings that are kept, of the pictures seen last
Floats = npt.NDArray[np.float32]
Images = npt.NDArray[np.uint8]


@dataclass
class Clip:
    """A model with its preprocessing.

    Attributes:
        name: Its folder's name.
        sha256: Hash of the weights.
        size: Height and width that pictures are brought to.
    """

    name: str
    sha256: str
    size: int
    _model: Any
    _tokenizer: Any
    _mean: torch.Tensor
    _std: torch.Tensor
    _resize: tuple[str, str]  # resize_mode and interpolation, in open_clip's words
    _words: frozenset[str] | None
    _device: torch.device
    _kept: dict[bytes, Floats] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path = EMBEDDED, device: str = "cpu") -> Clip:
        """Load a model folder.

        Raises:
            UserError: open_clip is missing, or the folder is no such model.
        """
        folder = Path(folder)
        for name in (CONFIG, WEIGHTS):
            if not (folder / name).is_file():
                raise UserError(
                    f"{folder} has no {name}; name a local folder of an open_clip model"
                )
        config = read_json(folder / CONFIG, ("model_cfg", "preprocess_cfg"))
        try:
            import open_clip
        except ImportError:
            raise UserError("CLIP needs open_clip: pip install 'embodied-stack[clip]'") from None
        try:
            model = open_clip.create_model(
                f"local-dir:{folder}", device=device, require_pretrained=True
            )
            tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
            cleaned = config["preprocess_cfg"]
            size = _side(cleaned["size"])
            mean, std = (
                torch.tensor(cleaned[name], device=device).view(1, 3, 1, 1)
                for name in ("mean", "std")
            )
            resize = _resizing(cleaned)
        # What a malformed folder raises depends on the part of the library that reads it.
        except Exception as error:
            said = " ".join(str(error).split()) or type(error).__name__
            raise UserError(f"{folder} is no open_clip model that loads ({said})") from None
        return cls(
            name=folder.name,
            sha256=sha256_file(folder / WEIGHTS),
            size=size,
            _model=for_inference(model),
            _tokenizer=tokenizer,
            _mean=mean,
            _std=std,
            _resize=resize,
            _words=_vocabulary(folder),
            _device=torch.device(device),
        )

    def unknown_words(self, sentence: str) -> list[str]:
        """Return the words of a sentence that the model never read; none where any word can be."""
        if self._words is None:
            return []
        return [word for word in re.findall(r"\w+", sentence.lower()) if word not in self._words]

    def texts(self, sentences: list[str]) -> Floats:
        """Return unit vectors float32 [N, D] of sentences."""
        with torch.inference_mode():
            tokens = self._tokenizer(sentences).to(self._device)
            return _numpy(self._model.encode_text(tokens, normalize=True))

    def images(self, pictures: Images) -> Floats:
        """Return unit vectors float32 [N, D] of pictures uint8 [N, H, W, 3].

        A picture that was seen before, by its pixels, is not computed again.
        """
        keys = [_key(picture) for picture in pictures]
        found = {key: self._kept.pop(key) for key in set(keys) if key in self._kept}
        new = {key: place for place, key in enumerate(keys) if key not in found}
        places = list(new.values())
        for first in range(0, len(places), BATCH):
            rows = places[first : first + BATCH]
            for row, vector in zip(rows, self.encode(pictures[rows]), strict=True):
                found[keys[row]] = vector
        self._kept |= found  # at the end, where those seen last are
        while len(self._kept) > MAX_KEPT:
            self._kept.pop(next(iter(self._kept)))
        if not keys:
            return self.texts([""])[:0]
        return np.stack([found[key] for key in keys])

    def encode(self, pictures: Images) -> Floats:
        """Return unit vectors float32 [N, D] of pictures uint8 [N, H, W, 3], all computed."""
        with torch.inference_mode():
            return _numpy(self._model.encode_image(self.prepared(pictures), normalize=True))

    def prepared(self, pictures: Images) -> torch.Tensor:
        """Return what the model takes, [N, 3, h, w]: resized as PIL would, normalised."""
        x = torch.from_numpy(np.ascontiguousarray(pictures)).to(self._device)
        x = x.permute(0, 3, 1, 2)
        if x.shape[-2:] != (self.size, self.size):
            if x.is_cuda:
                x = x.float()  # there is no kernel for whole numbers there
            mode, interpolation = self._resize
            height, width = side = (self.size, self.size)
            if mode == "shortest":
                scale = self.size / min(x.shape[-2:])
                height, width = (max(self.size, int(edge * scale)) for edge in x.shape[-2:])
            # With whole numbers, torch rounds as PIL does and is many times as fast as with floats.
            x = torch.nn.functional.interpolate(
                x, (height, width), mode=interpolation, antialias=True
            )
            if x.is_cuda:
                x = x.round_().clamp_(0, 255)  # PIL gives whole numbers
            top, left = (
                round((edge - cut) / 2) for edge, cut in zip((height, width), side, strict=True)
            )
            x = x[..., top : top + self.size, left : left + self.size]
        return x.float().div_(255.0).sub_(self._mean).div_(self._std)


def for_inference(model: Any) -> Any:
    """Return the model in the form that is fastest to apply, with the same results.

    Batch normalisation, a fixed scaling by now, goes into the convolution before it; memory is laid
    out by pixels where there are convolutions.
    """
    model.eval()
    convolutional = False
    for module in model.visual.modules():
        for number in ("1", "2", "3"):
            norm: Any = getattr(module, f"bn{number}", None)
            if isinstance(norm, torch.nn.BatchNorm2d):
                convolution: Any = getattr(module, f"conv{number}")
                setattr(module, f"conv{number}", fuse_conv_bn_eval(convolution, norm))
                setattr(module, f"bn{number}", torch.nn.Identity())
                convolutional = True
        shortcut: Any = getattr(module, "downsample", None)
        if isinstance(shortcut, torch.nn.Sequential) and len(shortcut) == 3:
            parts: list[Any] = list(shortcut)
            shortcut[1] = fuse_conv_bn_eval(parts[1], parts[2])
            shortcut[2] = torch.nn.Identity()
    return model.to(memory_format=torch.channels_last) if convolutional else model


def _resizing(settings: Mapping[str, Any]) -> tuple[str, str]:
    """Return resize mode and interpolation of a model's preprocessing.

    Raises:
        ValueError: One that is not done here.
    """
    chosen = settings.get("resize_mode") or "shortest", settings.get("interpolation") or "bicubic"
    for name, known in zip(chosen, (("squash", "shortest"), ("bicubic", "bilinear")), strict=True):
        if name not in known:
            raise ValueError(f"its preprocessing says {name}; known: {', '.join(known)}")
    return chosen


def _side(size: Any) -> int:
    return int(size[0] if isinstance(size, list | tuple) else size)


def _vocabulary(folder: Path) -> frozenset[str] | None:
    """Return the words of a tokenizer that knows whole words alone, or None of another."""
    if not (folder / TOKENIZER).is_file():
        return None
    model = read_json(folder / TOKENIZER, ("model",))["model"]
    return frozenset(model["vocab"]) if model.get("type") == "WordLevel" else None


def _key(picture: Images) -> bytes:
    import hashlib

    return hashlib.sha256(repr(picture.shape).encode() + picture.tobytes()).digest()


def _numpy(tensor: torch.Tensor) -> Floats:
    return np.asarray(tensor.float().cpu())
