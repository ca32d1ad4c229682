"""Datasets larger than the GPU: gathered on the host, copied over while the GPU computes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import torch

from embodied.engine.data import Batch, OfflineData


class StreamedData:
    """Gives the blocks of host data on a device, one ahead of what is being used.

    The blocks are those of ``data``, number for number. A thread gathers the next block into one of
    two pinned buffers and starts its copy on a stream of its own, while the device works on the
    block before it (double buffering).

    Attributes:
        indexed_on: Where the bits that it is given have to lie.

    Args:
        data: On the CPU; its columns may be memory-mapped.
        device: Where the blocks are wanted.
    """

    def __init__(self, data: OfflineData, device: str | torch.device) -> None:
        self._data, self.device = data, torch.device(device)
        self.indexed_on = torch.device("cpu")
        self._pinned: list[Batch | None] = [None, None]
        self._copied: list[torch.cuda.Event | None] = [None, None]  # when a buffer is free again
        cuda = self.device.type == "cuda"
        self._stream = torch.cuda.Stream(self.device) if cuda else None  # type: ignore[no-untyped-call]

    def blocks(self, bits: Iterable[torch.Tensor]) -> Iterator[Batch]:
        """Yield the block of every tensor of bits, in order."""
        with ThreadPoolExecutor(1) as thread:
            pending = None
            for turn, item in enumerate(bits):
                ahead = thread.submit(self._fetch, item, turn % 2)
                if pending is not None:
                    yield self._received(pending.result())
                pending = ahead
            if pending is not None:
                yield self._received(pending.result())

    def _fetch(self, bits: torch.Tensor, turn: int) -> tuple[Batch, torch.cuda.Event | None]:
        gathered = self._data.block(bits)
        if self._stream is None:
            return gathered.map(lambda item: item.to(self.device)), None
        if (used := self._copied[turn]) is not None:
            used.synchronize()  # the copy out of this buffer, two blocks ago
        kept = self._pinned[turn]
        if kept is None or kept.observation.shape != gathered.observation.shape:
            kept = self._pinned[turn] = gathered.map(torch.Tensor.pin_memory)
        else:
            for place, item in zip(kept, gathered, strict=True):
                if place is not None and item is not None:
                    place.copy_(item)
        with torch.cuda.stream(self._stream):
            moved = kept.map(lambda item: item.to(self.device, non_blocking=True))
            done = torch.cuda.Event()  # type: ignore[no-untyped-call]
            done.record(self._stream)
        self._copied[turn] = done
        return moved, done

    def _received(self, fetched: tuple[Batch, torch.cuda.Event | None]) -> Batch:
        """Make the computing stream wait for the copy, without the host."""
        batch, done = fetched
        if done is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_event(done)
            for item in batch:
                if item is not None:  # else its memory could be given away while it is in use
                    item.record_stream(current)
        return batch
