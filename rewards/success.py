"""The true sparse reward: whether the next state is a success, as the simulator stored it."""

from __future__ import annotations

from typing import Any

import numpy as np

from embodied.errors import UserError
from embodied.types import Score, Transitions
from rewards.dialect.evaluator import is_tensor


class SuccessReward:
    """Reads the column ``success`` (bool ``[N]``, of ``s_{t+1}``)."""

    def score(self, batch: Transitions) -> Score:
        """Return 1.0 where the next state is a success and 0.0 elsewhere, float32 ``[N]``.

        Raises:
            UserError: The transitions have no such column.
        """
        if "success" not in batch.columns:
            raise UserError(
                "the data has no success column, so its true reward is unknown; use data from a "
                "simulated task, or another reward"
            )
        success = batch.columns["success"]
        if tuple(success.shape) != (len(batch),):
            raise UserError(
                f"the success column has shape {list(success.shape)} and must be [{len(batch)}]"
            )
        if is_tensor(success):
            total = success.bool().float()
        else:
            total = np.asarray(success, dtype=bool).astype(np.float32)
        return Score(total, {"success": total})

    def provenance(self) -> dict[str, Any]:
        """Return the kind."""
        return {"kind": "success"}
