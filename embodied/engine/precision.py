"""bf16 inside float32 matrix products: faster where the processor has such instructions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from embodied.errors import UserError

MODES = {"float32": "ieee", "bf16": "bf16"}


def set_matmul_precision(name: str) -> None:
    """Choose how float32 matrix products are computed on the CPU, for this process.

    ``bf16`` rounds the factors to 8 bits of mantissa and sums in float32; weights, optimiser and
    everything else stay float32. Results differ between the two, and each is deterministic.
    """
    if name not in MODES:
        raise UserError(f"matmul_precision is {name!r}; use {' or '.join(MODES)}")
    backend: Any = torch.backends.mkldnn
    backend.matmul.fp32_precision = MODES[name]


def has_fast_bf16() -> bool:
    """Return whether the processor multiplies bf16 natively (AVX-512 BF16 or AMX)."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return False
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags)
