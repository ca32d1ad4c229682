"""A reward that is a program of the dialect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from embodied.errors import UserError
from embodied.types import Array, Score, Transitions
from rewards.dialect import Program, evaluate
from rewards.dialect.evaluator import check_finite, is_tensor
from rewards.dialect.tree import Input

CHUNK_ROWS = 65_536  # transitions computed at once, at most
CHUNK_ELEMENTS = 2**24  # intermediate values alive at once, at most: 64 MiB of float32


class CodeReward:
    """Scores transitions with a program, in float32, chunk by chunk.

    Only ``program.inputs`` are read of a batch, so columns that are gathered lazily cost nothing
    unless the program uses them. Tensors stay on their device.
    """

    def __init__(self, program: Program, provenance: Mapping[str, Any]) -> None:
        self.program = program
        self._provenance = dict(provenance)
        self._rows = max(1, min(CHUNK_ROWS, CHUNK_ELEMENTS // program.width))

    def score(self, batch: Transitions) -> Score:
        """Return the total and the terms, float32 ``[N]`` each.

        Raises:
            UserError: The batch lacks a field, holds it in another shape, or the result is not
                finite.
        """
        rows = len(batch)
        columns = {entry: _column(batch, entry, rows) for entry in self.program.inputs}
        total = _empty(next(iter(columns.values())), rows)
        terms = {name: _empty(total, rows) for name, _ in self.program.terms}
        for start in range(0, rows, self._rows):
            chunk = slice(start, min(start + self._rows, rows))
            inputs = {entry: _float32(column[chunk]) for entry, column in columns.items()}
            total[chunk], parts = evaluate(self.program, inputs)
            for name, part in parts.items():
                terms[name][chunk] = part
        check_finite(total, terms)
        return Score(total, terms)

    def provenance(self) -> dict[str, Any]:
        """Return where the code came from."""
        return dict(self._provenance)


def _column(batch: Transitions, entry: Input, rows: int) -> Array:
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
    if tuple(column.shape) != (rows, *entry.type.shape):
        raise UserError(
            f"the reward reads {entry} as {entry.type} and these transitions hold it as "
            f"{list(column.shape)}; use data of the task that the reward was made for"
        )
    return column


def _float32(array: Array) -> Array:
    if is_tensor(array):
        return array.float()
    return np.asarray(array, dtype=np.float32)


def _empty(like: Array, rows: int) -> Array:
    if is_tensor(like):
        return _float32(like.new_empty((rows,)))
    return np.empty(rows, dtype=np.float32)
