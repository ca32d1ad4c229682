"""Progress bars on standard error: shown on a terminal, silent in logs."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm


def progress_bar(total: int, title: str, unit: str = "") -> Any:
    """Return a tqdm bar; it is a context manager with ``update(count)``."""
    return tqdm(
        total=total,
        desc=title,
        unit=unit or "it",
        disable=not sys.stderr.isatty(),
        leave=False,
        dynamic_ncols=True,
    )
