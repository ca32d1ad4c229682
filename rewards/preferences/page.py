"""The page on which a person compares clips: makes the clips and waits for the answers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rewards.label_store import LabelStore
from rewards.preferences.page_server import PageServer
from rewards.preferences.sitting import Sitting

Images = npt.NDArray[np.uint8]
LINGER_S = 60.0  # after the last answer, for taking it back


def serve(
    instruction: str,
    pairs: Sequence[tuple[str, str]],
    frames: Callable[[str], Images],
    store: Path,
    *,
    fps: float,
    speed: float = 1.0,
    seed: int = 0,
    attention_every: int = 10,
    host: str = "127.0.0.1",
    port: int = 0,
    announce: Callable[[str], object] = print,
    linger_s: float = LINGER_S,
) -> dict[str, Any]:
    """Have a person compare pairs of clips on a web page, until all are answered.

    Clips are made in this thread, and the page is served by others. Ctrl-C ends it at any time; the
    answers that were given are kept.

    Args:
        instruction: What the clips are compared by.
        pairs: Names of the two clips of each pair; see ``Sitting``.
        frames: Returns a clip's frames, uint8 [T, H, W, 3], by its name.
        store: File of the label store.
        fps: Frames a second on the page.
        speed: How fast that is, 1 as in reality; told on the page.
        seed: Of the sides, and of which pairs are shown again.
        attention_every: Every so many pairs one is shown again, sides swapped; 0 for never.
        host: Address to listen at.
        port: Port, 0 for any that is free.
        announce: Told the page's address.
        linger_s: How long the last answer can be taken back, in s.

    Returns:
        ``Sitting.summary``: counts of the answers, and of attention checks that agree.

    Raises:
        UserError: The address cannot be listened at, the store cannot be used, or a clip cannot be
            made.
    """
    store.parent.mkdir(parents=True, exist_ok=True)
    with closing(LabelStore(store)) as kept, tempfile.TemporaryDirectory() as folder:
        sitting = Sitting(
            instruction,
            pairs,
            frames,
            kept,
            Path(folder),
            fps=fps,
            seed=seed,
            attention_every=attention_every,
        )
        with PageServer(sitting, host, port, speed) as server:
            announce(server.url)
            while sitting.ready < sitting.total:
                sitting.prepare()
            while sitting.given or not sitting.done:
                sitting.wait(lambda: sitting.done)
                # The last answer can still be taken back, until the person says that it is over.
                undone = sitting.wait(lambda: sitting.finished or not sitting.done, linger_s)
                if sitting.finished or not undone:
                    break
        return sitting.summary()
