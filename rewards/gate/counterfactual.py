"""Transitions that were never taken, put together from the states and actions of real ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from embodied.types import Array, LazyColumns, Transitions


@dataclass(frozen=True)
class States:
    """States ``[N]``: what is observed there and the named fields."""

    observation: Array
    fields: Mapping[str, Array]

    def take(self, rows: Array) -> States:
        """Return the states of the given rows; a field is gathered when it is read."""
        return States(
            self.observation[rows],
            LazyColumns({name: partial(self._rows, name, rows) for name in self.fields}),
        )

    def _rows(self, name: str, rows: Array) -> Any:
        return self.fields[name][rows]


def before(batch: Transitions) -> States:
    """Return the states ``s_t`` of a batch."""
    return States(batch.observation, batch.state)


def after(batch: Transitions) -> States:
    """Return the states ``s_{t+1}`` of a batch."""
    return States(batch.next_observation, batch.next_state)


def joined(start: States, action: Array, end: States) -> Transitions:
    """Return the transitions ``[N]`` that lead from ``start`` by ``action`` to ``end``."""
    never = np.zeros(len(action), bool)
    return Transitions(
        observation=start.observation,
        action=action,
        next_observation=end.observation,
        terminated=never,
        truncated=never,
        state=start.fields,
        next_state=end.fields,
    )
