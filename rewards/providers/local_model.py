"""A chat model in a local folder, run by the transformers library.

Nothing is fetched, no code of the folder is run and no pickle is read: weights are safetensors. The
chat template is rendered in Jinja's sandbox, as the library does.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embodied.errors import UserError
from embodied.files import read_json, sha256_bytes
from rewards.images import Image
from rewards.providers.turns import Turn, images

DTYPES = ("auto", "float32", "bfloat16", "float16")
TEXT_INPUTS = ("input_ids", "attention_mask")
LOADING = {"local_files_only": True, "trust_remote_code": False}


@dataclass(frozen=True)
class Written:
    """What a model wrote to one question.

    Attributes:
        text: Without control tokens.
        tokens: How many it wrote, the one that ends the answer included.
        stop: ``stop`` where it ended the answer itself, ``length`` where it was cut off.
    """

    text: str
    tokens: int
    stop: str


def check_folder(folder: Path) -> str:
    """Return the hash that names a model: of its files' names, sizes and times of change.

    Raises:
        UserError: The folder holds no model, its weights are not safetensors, or its config names
            kernels on a hub, which the library would fetch and run.
    """
    if _names_a_kernel(read_json(folder / "config.json")):
        raise UserError(
            f"{folder / 'config.json'} names an implementation on a hub, which is not run; remove "
            "its attn_implementation"
        )
    files = sorted(path for path in folder.iterdir() if path.is_file())
    if not any(path.suffix == ".safetensors" for path in files):
        raise UserError(
            f"{folder} holds no *.safetensors; other weights are not read: convert them with "
            "model.save_pretrained(FOLDER) of the transformers library"
        )
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return sha256_bytes(repr(stats).encode())


def _names_a_kernel(value: Any) -> bool:
    """Whether an implementation in a config, at any depth, is the name of a repository."""
    if isinstance(value, list):
        return any(map(_names_a_kernel, value))
    if not isinstance(value, dict):
        return False
    return any(
        (key.endswith("_implementation") and "/" in str(item)) or _names_a_kernel(item)
        for key, item in value.items()
    )


class LocalModel:
    """A model and what turns messages into its tokens; made by ``load``."""

    def __init__(self, model: Any, processor: Any, *, sees: bool) -> None:
        self._model = model
        self._processor = processor  # a tokenizer where the model does not see
        self._tokenizer = processor.tokenizer if sees else processor
        self.sees = sees

    @classmethod
    def load(cls, folder: Path, device: str, dtype: str) -> LocalModel:
        """Read a model from a folder.

        Args:
            folder: Holds ``config.json``, the weights and the tokenizer with its chat template.
            device: ``cpu``, ``cuda`` and so on.
            dtype: One of ``DTYPES``; ``auto`` is that of the weights.

        Raises:
            UserError: transformers is not installed, or it cannot use what the folder holds.
        """
        try:
            import transformers
        except ImportError:
            raise UserError(
                "provider=transformers needs: pip install 'embodied-stack[transformers]'"
            ) from None
        with _told(f"cannot use the model in {folder}"):
            config = transformers.AutoConfig.from_pretrained(folder, **LOADING)
            names = transformers.models.auto.modeling_auto
            sees = config.model_type in names.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
            maker = (
                transformers.AutoModelForImageTextToText
                if sees
                else transformers.AutoModelForCausalLM
            )
            reader = transformers.AutoProcessor if sees else transformers.AutoTokenizer
            processor = reader.from_pretrained(folder, **LOADING)
            model = maker.from_pretrained(folder, dtype=dtype, use_safetensors=True, **LOADING)
            model = model.to(device).eval()
        if not processor.chat_template:
            raise UserError(
                f"the tokenizer in {folder} has no chat template; take a model that is made for "
                "chat, or add its chat_template.jinja"
            )
        return cls(model, processor, sees=sees)

    @property
    def context(self) -> int:
        """Most tokens of question and answer together; unbounded where the model does not tell."""
        found = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        return found if isinstance(found, int) else sys.maxsize

    def encode(self, turns: Sequence[Turn]) -> dict[str, Any]:
        """Return a question as the model's input, one row: ``input_ids`` int64 ``[1, T]``...

        Raises:
            UserError: It shows images to a model that sees none, or the template refuses it.
        """
        if images(turns) and not self.sees:
            raise UserError("this model sees no images; name the folder of one that does")
        chat = [{"role": turn.role, "content": self._content(turn)} for turn in turns]
        with _told("the model's chat template refuses these messages"):
            encoded = self._processor.apply_chat_template(
                chat,
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
            )
        # A tokenizer may give more than its model takes.
        return dict(encoded) if self.sees else {name: encoded[name] for name in TEXT_INPUTS}

    def write(
        self,
        questions: Sequence[dict[str, Any]],
        max_tokens: int,
        temperature: float | None,
        seed: int,
        seconds: float | None,
    ) -> list[Written]:
        """Return the answers to encoded questions, generated as one batch.

        Args:
            questions: From ``encode``; several only for a model that does not see.
            max_tokens: Longest answer.
            temperature: None for greedy decoding.
            seed: Of the draws, where there is a temperature.
            seconds: The answers end after so long; None for no bound.
        """
        import torch

        sampling: dict[str, Any] = {"do_sample": temperature is not None}
        if temperature is not None:
            sampling["temperature"] = temperature
        inputs = questions[0] if len(questions) == 1 else self._padded(questions)
        device = self._model.device
        cuda = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(cuda), torch.inference_mode():
            torch.manual_seed(seed)
            rows = self._model.generate(
                **{name: value.to(device) for name, value in inputs.items()},
                **sampling,
                max_new_tokens=max_tokens,
                max_time=seconds,
                pad_token_id=self._padding,
            )
        start = inputs["input_ids"].shape[1]
        return [self._written(row[start:].tolist()) for row in rows]

    @property
    def _padding(self) -> int:
        """The token that fills shorter questions; masked, so any serves."""
        return self._tokenizer.pad_token_id or 0

    @property
    def _ends(self) -> set[int]:
        found = self._model.generation_config.eos_token_id
        return set(found) if isinstance(found, list) else {found} - {None}

    def _padded(self, questions: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return questions side by side ``[B, T]``, padded on the left, where nothing follows."""
        import torch

        rows = [question["input_ids"][0] for question in questions]
        longest = max(len(row) for row in rows)
        ids = torch.full((len(rows), longest), self._padding)
        mask = torch.zeros_like(ids)
        for index, row in enumerate(rows):
            ids[index, longest - len(row) :] = row
            mask[index, longest - len(row) :] = 1
        return {"input_ids": ids, "attention_mask": mask}

    def _written(self, tokens: list[int]) -> Written:
        end = next((index for index, token in enumerate(tokens) if token in self._ends), None)
        kept = tokens if end is None else tokens[: end + 1]
        text = self._tokenizer.decode(kept, skip_special_tokens=True)
        return Written(text, len(kept), "length" if end is None else "stop")

    def _content(self, turn: Turn) -> Any:
        if not self.sees:
            return turn.text
        return [
            {"type": "text", "text": part}
            if isinstance(part, str)
            else {"type": "image", "image": picture(part)}
            for part in turn.parts
        ]


def picture(image: Image) -> Any:
    """Return an image as PIL knows it, in RGB.

    Raises:
        UserError: It cannot be decoded.
    """
    import PIL.Image

    try:
        return PIL.Image.open(io.BytesIO(image.content)).convert("RGB")
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        name = image.path or "an image"
        raise UserError(f"cannot decode {name} ({' '.join(str(error).split())[:100]})") from None


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Turn what the library raises of a folder's or a message's content into one line."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:  # OSError, ValueError, KeyError, ImportError, template errors...
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{what} ({type(error).__name__}: {reason}); mend or replace it") from None
