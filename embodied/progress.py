"""Progress bars on standard error: live on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

LOG_INTERVAL_S = 30.0  # between two lines where standard error is no terminal


def progress_bar(total: int | None, title: str, unit: str = "") -> Any:
    """Return a tqdm bar; it is a context manager with ``update(count)``."""
    live = sys.stderr.isatty()
    return tqdm(
        total=total,
        desc=title,
        unit=unit or "it",
        delay=0.0 if live else LOG_INTERVAL_S,
        mininterval=0.1 if live else LOG_INTERVAL_S,
        leave=False,
        dynamic_ncols=live,
    )
