"""The dictionaries beside observations, as Gymnasium's vector environments specify them."""

from __future__ import annotations

from typing import Any

import numpy as np

from embodied.types import Array

Info = dict[str, Any]


def current(state: dict[str, Array], success: Array) -> Info:
    """Return the info of an observation that every environment has."""
    everywhere = np.ones(len(success), dtype=np.bool_)
    return {"state": state, "_state": everywhere, "success": success, "_success": everywhere}


def final(observation: Array, state: dict[str, Array], success: Array, ended: Array) -> Info:
    """Return the entries for environments that end and are reset in one step.

    Args:
        observation: Last observations [N, O]; those of ended environments are kept.
        state: Named fields [N, ...] that belong to them.
        success: bool [N].
        ended: bool [N].
    """
    final_obs = np.full(len(ended), None, dtype=object)
    for index in np.flatnonzero(ended):
        final_obs[index] = observation[index]
    kept = {
        name: np.where(ended.reshape(-1, *[1] * (value.ndim - 1)), value, 0.0)
        for name, value in state.items()
    }
    return {
        "final_obs": final_obs,
        "_final_obs": ended.copy(),
        "final_info": {
            "state": kept,
            "_state": ended.copy(),
            "success": success & ended,
            "_success": ended.copy(),
        },
        "_final_info": ended.copy(),
    }
