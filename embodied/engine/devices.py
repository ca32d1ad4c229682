"""Which device torch computes on, as a user names it."""

from __future__ import annotations

import re

import torch

from embodied.errors import UserError


def check_device(name: str) -> None:
    """Raise UserError unless ``name`` is ``cpu``, or ``cuda[:N]`` where torch sees a GPU."""
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise UserError(f"device is {name!r}; use cpu or cuda")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"device={name}, but torch sees no GPU; use device=cpu")
