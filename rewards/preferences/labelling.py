"""Have comparisons labelled: every answer goes through the store, none is asked for twice.

Threads of one process, and any number of processes on one store, share the work by claims. What a
killed process was being answered is lost; its claims are open again as soon as another process on
that machine looks, and on other machines when their lease has run out.
"""

from __future__ import annotations

import os
import random
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from embodied.errors import at_least
from rewards.label_store import LabelStore
from rewards.preferences.source import Comparison, Preference, PreferenceSource

LEASE_S = 3600.0  # longer than any answer takes, its retries included
POLL_S = 0.2  # between two looks at what other processes are being answered


def label(
    comparisons: Sequence[Comparison],
    source: PreferenceSource,
    store: LabelStore,
    *,
    workers: int = 1,
    progress: Callable[[int], object] = lambda count: None,
) -> list[Preference | None]:
    """Return the preferences in order; None where there is no readable answer.

    What the store holds is not asked again. A comparison that fails is tried once in a call.

    Args:
        comparisons: Equal ones are asked once.
        source: Answers them.
        store: Keeps what it answers.
        workers: Threads that ask at a time.
        progress: Told how many were dealt with since it was told last.

    Raises:
        UserError: The source can give no further answer; what was answered before is kept.
    """
    at_least(1, {"workers": workers})
    keys = store.add(source.request(item) for item in comparisons)
    waiting = dict(zip(keys, comparisons, strict=True))
    for key in set(waiting) - set(store.unanswered(keys)):
        del waiting[key]
    progress(len(comparisons) - len(waiting))
    # Processes at the same list would otherwise meet at every question.
    order = random.Random(os.getpid()).sample(list(waiting), len(waiting))
    waiting = {key: waiting[key] for key in order}
    release_dead(store)
    work = _Work(waiting, source, store, progress)
    with ThreadPoolExecutor(workers) as pool:
        running = [pool.submit(work.run, number) for number in range(workers)]
    for done in running:
        done.result()
    store.parse(source.parser, source.read, keys)
    read = {item.key: item.value for item in store.labels(source.parser, keys)}
    return [read.get(key) for key in keys]  # type: ignore[misc]


def worker_name(number: int) -> str:
    """Return the name under which a thread of this process claims."""
    return f"{socket.gethostname()}:{os.getpid()}:{number}"


def release_dead(store: LabelStore) -> None:
    """Open the claims of processes of this machine that are gone."""
    for worker in store.claimants():
        host, _, rest = worker.partition(":")
        process = rest.partition(":")[0]
        if host == socket.gethostname() and process.isdigit() and not _lives(int(process)):
            store.release(worker)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class _Work:
    """What the workers of one call share."""

    def __init__(
        self,
        waiting: dict[str, Comparison],
        source: PreferenceSource,
        store: LabelStore,
        progress: Callable[[int], object],
    ) -> None:
        self._waiting, self._source, self._store = waiting, source, store
        self._progress = progress
        self._lock, self._stop = threading.Lock(), threading.Event()

    def run(self, number: int) -> None:
        """Claim and answer until nothing is left, or until another worker fails."""
        worker = worker_name(number)
        try:
            while not self._stop.is_set() and (batch := self._take()):
                self._deal_with(worker, batch)
        except BaseException:
            self._stop.set()
            raise
        finally:
            self._store.release(worker)  # of questions without an answer

    def _take(self) -> dict[str, Comparison]:
        """Take the next few of what nobody in this call has dealt with."""
        with self._lock:
            return dict(
                self._waiting.popitem() for _ in range(min(self._source.batch, len(self._waiting)))
            )

    def _deal_with(self, worker: str, batch: dict[str, Comparison]) -> None:
        claims = self._store.claim(worker, len(batch), LEASE_S, list(batch))
        if claims:
            answers = self._source.answer([batch[item.key] for item in claims])
            named = zip((item.key for item in claims), answers, strict=True)
            self._store.keep_many(list(named))
            self._store.release(worker)  # what failed is open to others again
        left = {item.key for item in claims}
        others = self._store.unanswered([key for key in batch if key not in left])
        self._progress(len(batch) - len(others))
        if others:  # another process is being answered: look again when the rest is done
            with self._lock:
                self._waiting = {**{key: batch[key] for key in others}, **self._waiting}
            if not claims:
                self._stop.wait(POLL_S)
