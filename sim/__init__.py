"""Simulated tasks as batched vector environments."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sim.batched import BatchedMujocoEnv


def make(
    name: str,
    num_envs: int = 1,
    *,
    seed: int | None = None,
    threads: int | None = None,
    max_steps: int | None = None,
) -> BatchedMujocoEnv:
    """Make ``num_envs`` environments of a task, as one vector environment.

    Args:
        name: Short name of a task, for example ``"push"``.
        num_envs: Number of environments.
        seed: Seed of the first reset that names none; environment ``i`` gets ``seed + i``.
        threads: Threads that step the physics; by default one per core that is free to use.
        max_steps: Control steps of an episode; by default those of the task.

    Raises:
        UserError: No task has this name, or a number is not positive.
    """
    from embodied.registry import resolve
    from sim.batched import BatchedMujocoEnv

    task = resolve("task", name)()
    return BatchedMujocoEnv(task, num_envs, seed=seed, threads=threads, max_steps=max_steps)
