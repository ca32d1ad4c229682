"""The reward that says nothing: the control that every generated reward has to beat."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from embodied.errors import UserError
from embodied.types import Score, Transitions
from rewards.dialect.evaluator import is_tensor


class ConstantReward:
    """Gives every transition the same number."""

    def __init__(self, value: float = 0.0) -> None:
        if not math.isfinite(value):
            raise UserError(f"a constant reward of {value} is not finite; give a number")
        self.value = float(value)

    def score(self, batch: Transitions) -> Score:
        """Return ``value`` for every transition, float32 ``[N]``."""
        total = np.full(len(batch), self.value, dtype=np.float32)
        if is_tensor(batch.action):
            total = batch.action.new_full((len(batch),), self.value).float()
        return Score(total, {"constant": total})

    def provenance(self) -> dict[str, Any]:
        """Return the kind and the value."""
        return {"kind": "constant", "value": self.value}
