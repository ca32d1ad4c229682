"""What a batched environment asks of the simulation behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from embodied.types import Array, FloatArray


@dataclass(frozen=True)
class Moment:
    """What is known of every environment at one moment."""

    observation: Array  # float32 [N, O]
    state: dict[str, Array]  # the task's named fields, [N, ...]
    success: Array  # bool [N]
    terminated: Array  # bool [N], whether the episode is over because of what happened


class Simulation(Protocol):
    """``N`` environments of one task: the physics and what an episode keeps beside it."""

    model: Any  # mujoco.MjModel
    substeps: int  # physics steps of a control step
    camera: str  # of the scene, that films it

    def start(self, indices: npt.NDArray[np.intp], rngs: Sequence[np.random.Generator]) -> None:
        """Begin a new episode in some environments; environment ``i`` draws from ``rngs[i]``."""
        ...

    def advance(self, actions: FloatArray) -> None:
        """Take one control step with actions [N, A] within their bounds."""
        ...

    def moment(self) -> Moment:
        """Return what is known now."""
        ...

    def drawn(self, index: int) -> tuple[FloatArray, FloatArray | None]:
        """Return what one environment's image needs: qpos [nq] and positions of mocap bodies."""
        ...

    def get_state(self) -> dict[str, Array]:
        """Return copies of every array that decides the future."""
        ...

    def set_state(self, state: Mapping[str, Array]) -> None:
        """Restore what ``get_state`` gave, in the same shapes."""
        ...

    def close(self) -> None:
        """Stop the threads."""
        ...
