"""Ctrl-C at a moment of our choosing."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self


class Interrupts:
    """Raises KeyboardInterrupt only in blocks that allow it, and keeps one that comes elsewhere.

    A Ctrl-C between sending an action and recording it would lose the record of a real motion, and
    one on the way to the end state would leave the arm half-way. A kept Ctrl-C is raised by the
    next block that allows it, or at the end; one more is raised at once, so that a hanging driver
    can be left. Outside the main thread, where Python raises no KeyboardInterrupt, it does nothing.
    """

    def __init__(self) -> None:
        self._allowed = False
        self._pending = False
        self._main = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> Self:
        if self._main:
            self._before = signal.signal(signal.SIGINT, self._arrived)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._main:
            signal.signal(signal.SIGINT, self._before or signal.default_int_handler)
        if self._pending and kind is None:
            raise KeyboardInterrupt

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """Let a Ctrl-C end this block."""
        self._allowed = True
        try:
            if self._pending:
                self._pending = False
                raise KeyboardInterrupt
            yield
        finally:
            self._allowed = False

    def _arrived(self, signum: int, frame: FrameType | None) -> None:
        if self._allowed or self._pending:
            # The block is over from here, even if its own last line is not reached.
            self._allowed = self._pending = False
            raise KeyboardInterrupt
        self._pending = True
