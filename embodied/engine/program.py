"""Runs one update many times: eagerly, compiled, or ``K`` at a time as one CUDA graph.

On a GPU a small update is all launch overhead. ``K`` updates are therefore captured once, by hand,
and replayed: no Python, no synchronisation and one copy of the metrics per replay. The graph reads
its minibatches from fixed buffers that are refilled before every replay, and everything that it
changes (parameters, moments, target copies, the count of updates) are tensors that stay in place.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from embodied.engine.data import Batch

Metrics = dict[str, torch.Tensor]
Once = Callable[[Batch, int], Metrics]

CPU_BLOCK, CUDA_BLOCK = 8, 64  # updates whose minibatches are gathered together


class Program:
    """Repeats an update.

    Attributes:
        captured: Capture and replay; set it to False before the first update to compare with.
        block: Updates whose minibatches are gathered together, and which are one graph.

    Args:
        once: Takes one update on a minibatch, given its number modulo ``period``, and returns its
            metrics. It changes tensors in place and never looks at their values from Python.
        device: Where it computes.
        period: Updates after which the same Python code repeats.
        compiled: Hand ``once`` to ``torch.compile`` first. It takes tens of seconds at the first
            update; whether it pays is measured by ``benchmarks/iql.py`` and ``benchmarks/gpu.py``.
    """

    def __init__(
        self,
        once: Once,
        device: torch.device,
        *,
        period: int = 1,
        compiled: bool = False,
    ) -> None:
        self._once = _compile(once) if compiled else once
        self._device = device
        self.captured = device.type == "cuda"
        self.block = CUDA_BLOCK if device.type == "cuda" else CPU_BLOCK
        self._period = period
        self._warm = False
        self._input: Batch | None = None
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, Metrics]] = {}  # by first turn

    def run(self, block: Batch, first: int) -> Metrics:
        """Update on every minibatch of a block, from update ``first``; return the last metrics."""
        whole = len(block.observation) == self.block
        if not (self.captured and whole and self._warm):
            # On a GPU these updates are also the warm-up that a capture needs.
            self._warm = self._warm or whole
            return self._updates(block, first)
        turn = first % self._period
        if turn not in self._graphs:
            self._capture(block, turn)
        assert self._input is not None
        for place, item in zip(self._input, block, strict=True):
            if place is not None and item is not None:
                place.copy_(item)
        graph, metrics = self._graphs[turn]
        graph.replay()
        return {key: value.clone() for key, value in metrics.items()}

    def _updates(self, block: Batch, first: int) -> Metrics:
        metrics: Metrics = {}
        for k in range(len(block.observation)):
            metrics = metrics | self._once(block.at(k), (first + k) % self._period)
        return metrics

    def _capture(self, block: Batch, turn: int) -> None:
        """Record a block of updates. Nothing is computed meanwhile."""
        if self._input is None:
            self._input = block.map(torch.clone)
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        # Only this thread's calls count: another may be fetching the next block of streamed data.
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            metrics = self._updates(self._input, turn)
        self._graphs[turn] = graph, metrics


def _compile(once: Once) -> Once:
    """Return the update as one compiled program, gradients included where torch can trace them."""
    config = torch._dynamo.config
    if hasattr(config, "trace_autograd_ops"):
        config.trace_autograd_ops = True
    return torch.compile(once, dynamic=False)
