"""Simulated tasks as batched vector environments."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sim.batched import BatchedMujocoEnv
    from sim.cartpole.environment import CartPoleEnv
    from sim.maniskill.environment import ManiSkillEnv


def make(
    name: str,
    num_envs: int = 1,
    *,
    seed: int | None = None,
    threads: int | None = None,
    max_steps: int | None = None,
    device: str | None = None,
) -> BatchedMujocoEnv | CartPoleEnv | ManiSkillEnv:
    """Make ``num_envs`` environments of a task, as one vector environment.

    Args:
        name: Short name of a task, for example ``"push"``.
        num_envs: Number of environments.
        seed: Seed of the first reset that names none; environment ``i`` gets ``seed + i``.
        threads: Threads that step the physics; by default one per core that is free to use.
        max_steps: Control steps of an episode; by default those of the task.
        device: Where ManiSkill simulates, ``cpu`` or ``cuda``; MuJoCo's tasks have no choice.

    Raises:
        UserError: No task has this name, a number is not positive, or an option is not the task's.
    """
    from embodied.errors import UserError
    from embodied.registry import resolve
    from sim.batched import BatchedMujocoEnv
    from sim.cartpole.environment import CartPoleEnv
    from sim.cartpole.task import CartPoleTask
    from sim.maniskill.task import ManiSkillTask

    task = resolve("task", name)()
    if isinstance(task, CartPoleTask | ManiSkillTask) and threads is not None:
        raise UserError(f"{name} is not stepped by threads; leave env.threads out")
    if isinstance(task, ManiSkillTask):
        from sim.maniskill.environment import ManiSkillEnv

        return ManiSkillEnv(task, num_envs, seed=seed, device=device, max_steps=max_steps)
    if device is not None:
        raise UserError(f"{name} is simulated on the CPU; leave env.device out")
    if isinstance(task, CartPoleTask):
        return CartPoleEnv(task, num_envs, seed=seed, max_steps=max_steps)
    return BatchedMujocoEnv(task, num_envs, seed=seed, threads=threads, max_steps=max_steps)
