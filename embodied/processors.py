"""How many processors this process may use."""

from __future__ import annotations

import os


def free_cores() -> int:
    """Return the number of processors: a container may be given fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):  # not every system can tell
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
