"""Several questions at a time, a bounded number of them under way."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any

from embodied.errors import UserError
from rewards.providers.base import Reply


def ask_all(count: int, ask: Callable[[int], Reply], concurrency: int) -> list[Reply | UserError]:
    """Return the answers to questions 0 to ``count - 1``, in that order.

    A question that fails has its UserError in its place. The threads are daemons, so that Ctrl-C
    ends the process at once: what was answered is kept by ``ask``, what is under way is lost.

    Args:
        count: How many questions there are.
        ask: Asks one; called from several threads.
        concurrency: Most questions under way at a time.
    """
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for index in range(count):
        waiting.put(index)
    found: dict[int, Reply | UserError] = {}
    bugs: list[BaseException] = []

    def work() -> None:
        while not bugs:
            try:
                index = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                found[index] = ask(index)
            except UserError as error:
                found[index] = error
            except BaseException as error:
                bugs.append(error)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(concurrency, count))]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except BaseException as error:  # Ctrl-C: no worker takes another question
        bugs.append(error)
        raise
    if bugs:
        raise bugs[0]
    return [found[index] for index in range(count)]


def sample_numbers(questions: Sequence[Any], samples: Sequence[int] | None) -> Sequence[int]:
    """Return the number of the answer to each question, 0 unless given."""
    numbers = [0] * len(questions) if samples is None else samples
    if len(numbers) != len(questions):
        raise ValueError(f"{len(numbers)} sample numbers for {len(questions)} questions")
    return numbers
