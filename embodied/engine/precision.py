"""How float32 matrix products are computed on the CPU: as they are, or through oneDNN with bf16."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from embodied.errors import UserError

MODES = {"float32": "ieee", "bf16": "bf16"}


def set_matmul_precision(name: str) -> None:
    """Choose how float32 matrix products are computed on the CPU, for this process.

    ``bf16`` lets oneDNN round the factors to 8 bits of mantissa and sum in float32; weights,
    optimiser and everything else stay float32. Each mode is deterministic; their results differ.
    Where the processor cannot multiply bf16 that way (``has_fast_bf16``), oneDNN computes the
    products in float32: no rounding then, but its kernels in place of the default library's.
    """
    if name not in MODES:
        raise UserError(f"matmul_precision is {name!r}; use {' or '.join(MODES)}")
    backend: Any = torch.backends.mkldnn
    backend.matmul.fp32_precision = MODES[name]


def has_fast_bf16() -> bool:
    """Return whether ``bf16`` really rounds on this processor (AMX does, AVX-512 alone does not).

    Found out by a product whose factors bf16 rounds: flags of the processor do not tell what the
    matrix library makes of them.
    """
    backend: Any = torch.backends.mkldnn
    before = backend.matmul.fp32_precision
    factor = torch.full((64, 64), 1.0 + 2.0**-10)
    backend.matmul.fp32_precision = MODES["bf16"]
    try:
        return bool((factor @ factor)[0, 0] == 64.0)
    finally:
        backend.matmul.fp32_precision = before


def faster_mode() -> str:
    """Return the mode that is likely the faster one here: ``bf16`` on AVX-512 BF16 and AMX.

    Without AMX the gain comes from oneDNN's AVX-512 kernels alone (``benchmarks/iql.py``).
    """
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return "float32"
    return "bf16" if {"avx512_bf16", "amx_bf16"} & set(flags) else "float32"


def describe_products(name: str) -> str:
    """Return in words what a mode really computes on this processor."""
    if name == "float32":
        return "float32"
    return "bf16" if has_fast_bf16() else "float32 (oneDNN)"
