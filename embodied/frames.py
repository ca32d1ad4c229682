"""Images of a task's states, drawn from their named fields: what a reward that looks is shown.

Stored transitions need no camera for it: what a field tells is drawn again, in any look.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from embodied.registry import resolve
from embodied.types import Array, Task

Images = npt.NDArray[np.uint8]
Frames = Callable[[Mapping[str, Array]], Images]  # named states [N] -> uint8 [N, H, W, 3]


def make_frames(task: Task | None, size: tuple[int, int] = (96, 96), look: int = 0) -> Any:
    """Return what draws a task's states, or None where nobody can.

    Args:
        task: The task whose fields are given.
        size: Width and height in pixels.
        look: 0 is the scene's own look; any other number draws colours and cameras that the
            embedded CLIP never saw in its training.

    Raises:
        UserError: Rendering does not work here.
    """
    return None if task is None else resolve("frames", "native")(task, size, look)
