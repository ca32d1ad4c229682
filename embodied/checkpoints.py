"""Training checkpoints: safetensors files that appear whole; the newest one is gone on from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes

from embodied.errors import UserError
from embodied.files import atomic_path

KEEP = 2  # the newest and the one before it


def save(folder: Path, step: int, state: Mapping[str, torch.Tensor]) -> Path:
    """Write ``step_<n>.safetensors`` and remove all but the newest ``KEEP``."""
    path = folder / f"step_{step:09d}.safetensors"
    with atomic_path(path) as temporary:
        temporary.write_bytes(to_bytes({key: value.contiguous() for key, value in state.items()}))
    for old in sorted(folder.glob("step_*.safetensors"))[:-KEEP]:
        old.unlink()
    return path


def load_newest(folder: Path) -> tuple[int, dict[str, torch.Tensor]] | None:
    """Return step and state of the newest checkpoint, or None when there is none.

    Raises:
        UserError: The file is damaged.
    """
    found = sorted(folder.glob("step_*.safetensors"))
    if not found:
        return None
    try:
        return int(found[-1].stem.removeprefix("step_")), load_file(found[-1])
    except (SafetensorError, ValueError, OSError) as error:
        raise UserError(
            f"{found[-1]} is damaged ({error}); remove it to go on from the one before it"
        ) from None
