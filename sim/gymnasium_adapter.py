"""Any environment that Gymnasium knows, with the autoreset mode that the stages expect."""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium.vector import AutoresetMode, VectorEnv

from embodied.errors import UserError


def make(id: str, num_envs: int = 1, *, max_steps: int | None = None, **kwargs: Any) -> VectorEnv:
    """Make ``num_envs`` copies of a registered Gymnasium environment.

    Args:
        id: Gymnasium's id, for example ``"HalfCheetah-v5"``. Its form ``"module:id"`` is refused,
            because a config must not choose what is imported.
        num_envs: Number of environments.
        max_steps: Steps of an episode; the environment's own limit when None.
        **kwargs: Given to the environment.

    Raises:
        UserError: There is no such environment, or a package that it needs is missing.
    """
    if num_envs < 1:
        raise UserError(f"num_envs is {num_envs}; it must be at least 1")
    if ":" in id:
        raise UserError(
            f"{id!r} names a module to import; install a package that registers its environments "
            "by Gymnasium's entry points and write the id alone"
        )
    if max_steps is not None:
        kwargs["max_episode_steps"] = max_steps
    try:
        return gymnasium.make_vec(
            id,
            num_envs,
            vectorization_mode="sync",
            vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
            **kwargs,
        )
    except (gymnasium.error.UnregisteredEnv, gymnasium.error.DeprecatedEnv) as error:
        raise UserError(
            f"gymnasium has no environment {id!r} ({error}); list what is there with "
            "'python -c \"import gymnasium; gymnasium.pprint_registry()\"'"
        ) from None
    except (gymnasium.error.DependencyNotInstalled, ImportError) as error:
        raise UserError(
            f"the environment {id!r} needs a package that is missing: {error}"
        ) from None
    except gymnasium.error.Error as error:
        raise UserError(f"gymnasium cannot make {id!r}: {error}") from None
