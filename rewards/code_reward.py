"""A reward that is a program of the dialect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from embodied.errors import UserError
from embodied.processors import free_cores
from embodied.types import Array, Score, Transitions
from rewards.dialect import Program
from rewards.dialect.evaluator import ArrayMachine, TensorMachine, check_finite, is_tensor
from rewards.dialect.tree import Input

CHUNK_ROWS = 8_192  # transitions of NumPy arrays computed at once: what is kept fits the cache
TENSOR_ROWS = 65_536  # transitions of tensors computed at once, at most
CHUNK_ELEMENTS = 2**24  # intermediate values alive at once, at most: 64 MiB of float32


class CodeReward:
    """Scores transitions with a program, in float32, chunk by chunk.

    Only ``program.inputs`` are read of a batch, so columns that are gathered lazily cost nothing
    unless the program uses them. Tensors stay on their device. The columns and the chunks of NumPy
    arrays are shared out to as many threads as there are processors; none is left when ``score``
    returns.
    """

    def __init__(self, program: Program, provenance: Mapping[str, Any]) -> None:
        self.program = program
        self._provenance = dict(provenance)
        self._most_rows = max(1, CHUNK_ELEMENTS // program.width)
        self._machines: list[ArrayMachine] = []  # those of the last batch that are not in use

    def score(self, batch: Transitions) -> Score:
        """Return the total and the terms, float32 ``[N]`` each.

        Raises:
            UserError: The batch lacks a field, holds it in another shape, or the result is not
                finite.
        """
        rows = len(batch)
        if is_tensor(_column(batch, rows, self.program.inputs[0])):
            outputs = self._score_tensors(batch, rows)
        else:
            outputs = self._score_arrays(batch, rows)
        names = (name for name, _ in self.program.terms)
        total, terms = outputs[0], dict(zip(names, outputs[1:], strict=True))
        check_finite(total, terms)
        return Score(total, terms)

    def provenance(self) -> dict[str, Any]:
        """Return where the code came from."""
        return dict(self._provenance)

    def _score_tensors(self, batch: Transitions, rows: int) -> list[Array]:
        columns = [_column(batch, rows, entry) for entry in self.program.inputs]
        like = columns[0].new_empty((0,)).float()
        outputs = [like.new_empty((rows,)) for _ in self.program.plan.results]
        machine = TensorMachine(self.program, like)
        for chunk in _chunks(rows, min(TENSOR_ROWS, self._most_rows)):
            parts = [column[chunk] for column in columns]
            machine.run(parts, [output[chunk] for output in outputs])
        return outputs

    def _score_arrays(self, batch: Transitions, rows: int) -> list[Array]:
        outputs = [np.empty(rows, np.float32) for _ in self.program.plan.results]
        size = min(CHUNK_ROWS, self._most_rows)
        read = partial(_column, batch, rows)
        if rows <= 2 * size or free_cores() == 1:  # starting threads takes longer than a chunk
            columns = [read(entry) for entry in self.program.inputs]
            self._work(iter(_chunks(rows, size)), columns, outputs)
            return outputs
        threads = free_cores()
        with ThreadPoolExecutor(threads) as pool:
            columns = list(pool.map(read, self.program.inputs))
            waiting = iter(_chunks(rows, size))
            work = partial(self._work, waiting, columns, outputs)
            for task in [pool.submit(work) for _ in range(threads)]:
                task.result()
        return outputs

    def _work(
        self, waiting: Iterator[slice], columns: Sequence[Array], outputs: Sequence[Array]
    ) -> None:
        """Compute chunks until none is waiting; every thread takes the next one."""
        machine: ArrayMachine | None = None
        for chunk in waiting:
            machine = machine or self._take_machine(chunk.stop - chunk.start)
            parts = [column[chunk] for column in columns]
            machine.run(parts, [output[chunk] for output in outputs])
        if machine is not None:
            self._machines.append(machine)

    def _take_machine(self, rows: int) -> ArrayMachine:
        """Return a machine that no other thread uses, a kept one where its size fits."""
        try:
            machine = self._machines.pop()
        except IndexError:
            machine = None
        if machine is not None and machine.rows == rows:
            return machine
        return ArrayMachine(self.program, rows, np.float32)


def _chunks(rows: int, size: int) -> list[slice]:
    """Return slices of one size that cover all rows; the last one goes over some rows again."""
    size = min(rows, size)
    starts = [*range(0, rows - size, size), rows - size] if rows else []
    return [slice(start, start + size) for start in starts]


def _column(batch: Transitions, rows: int, entry: Input) -> Array:
    """Return what a program reads from a batch, ``[N, *shape]`` in whatever type it is stored."""
    if entry.source == "action":
        column = batch.action
    else:
        fields = batch.state if entry.source == "state" else batch.next_state
        if entry.name not in fields:
            raise UserError(
                f"the reward reads {entry}, which these transitions do not have (they have: "
                f"{', '.join(sorted(fields)) or 'no named fields'}); record or map that field"
            )
        column = fields[entry.name]
    if not is_tensor(column) and np.asarray(column).dtype.kind not in "fiub":
        raise UserError(
            f"the reward reads {entry}, which these transitions hold as {column.dtype} and not as "
            "numbers; record or map a field of numbers"
        )
    if tuple(column.shape) != (rows, *entry.type.shape):
        raise UserError(
            f"the reward reads {entry} as {entry.type} and these transitions hold it as "
            f"{list(column.shape)}; use data of the task that the reward was made for"
        )
    return column
