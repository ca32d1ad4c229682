"""D4RL's normalised score: 0 is the random reference policy, 100 the expert one.

Source: Fu et al. 2020, "D4RL: Datasets for Deep Data-Driven Reinforcement Learning"; the references
are those of the D4RL package (``d4rl/infos.py``). They belong to D4RL's own environments. In other
ones, such as Gymnasium's ``-v4`` and ``-v5`` or Gymnasium-Robotics' mazes, rewards, terminations or
episode lengths differ: the formula still gives a number, but not one to be put beside the published
tables. ``comparability`` says so for an id.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from embodied.errors import UserError

# Return of the random policy, return of the expert: undiscounted sums of the environment's reward.
REFERENCES: dict[str, tuple[float, float]] = {
    "halfcheetah": (-280.178953, 12135.0),
    "hopper": (-20.272305, 3234.3),
    "walker2d": (1.629008, 4592.3),
    "ant": (-325.6, 3879.7),
    "antmaze": (0.0, 1.0),
    "kitchen": (0.0, 4.0),
    "pen": (96.262799, 3076.833102),
    "hammer": (-274.856578, 12794.134825),
    "door": (-56.512833, 2880.569309),
    "relocate": (-6.425911, 4233.877798),
    "maze2d-umaze": (23.85, 161.86),
    "maze2d-medium": (13.13, 277.39),
    "maze2d-large": (6.7, 273.99),
}

_ADROIT = "pen|hammer|door|relocate"
_MAZES = "umaze-diverse|umaze|(?:medium|large)-(?:play|diverse)"
_LEVELS = "random|medium|expert|medium-replay|full-replay|medium-expert"
# D4RL's own ids in lower case; the part in brackets is the family.
_D4RL = (
    rf"(halfcheetah|hopper|walker2d|ant)-(?:{_LEVELS})-v[0-2]",
    rf"(antmaze)-(?:{_MAZES})-v[0-2]",
    r"(kitchen)-(?:complete|partial|mixed)-v0",
    rf"({_ADROIT})-(?:human|cloned|expert)-v[01]",
    r"(maze2d-(?:umaze|medium|large))-v1",  # version 0 had other references
)
# Minari's copies of D4RL, then Gymnasium's and Gymnasium-Robotics' environments.
_OTHERS = (
    rf"d4rl/(antmaze)/(?:{_MAZES})-v\d+",
    r"d4rl/(kitchen)/(?:complete|partial|mixed)-v\d+",
    rf"d4rl/({_ADROIT})/(?:human|cloned|expert)-v\d+",
    r"d4rl/point(maze/(?:umaze|medium|large))-v\d+",
    r"(halfcheetah|hopper|walker2d|ant)-v\d+",
    r"(antmaze)_(?:umaze|medium|medium_diverse_gr?|large|large_diverse_gr?)-v\d+",
    r"franka(kitchen)-v\d+",
    rf"adroithand({_ADROIT})-v\d+",
    r"point(maze_(?:umaze|medium|large))-v\d+",
)


def family(env_id: str) -> str:
    """Return the key of ``REFERENCES`` for an id of Gymnasium, D4RL or Minari's copies of D4RL.

    Raises:
        UserError: D4RL has no reference for it.
    """
    for pattern in (*_D4RL, *_OTHERS):
        if found := re.fullmatch(pattern, env_id.lower()):
            return re.sub(r"^maze[/_]", "maze2d-", found[1])
    raise UserError(
        f"D4RL has no reference scores for {env_id!r}; use the plain return, or an environment of "
        f"{', '.join(REFERENCES)}"
    )


def normalised_score(env_id: str, returns: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return ``100 * (return - random) / (expert - random)``, shaped like ``returns``.

    Args:
        env_id: Of Gymnasium (``HalfCheetah-v5``), D4RL (``halfcheetah-medium-v2``) or Minari's
            copies of D4RL (``D4RL/pen/human-v2``), in any case of letters.
        returns: Undiscounted returns of whole episodes.

    Raises:
        UserError: D4RL has no reference for the id.
    """
    low, high = REFERENCES[family(env_id)]
    return np.asarray(100.0 * (np.asarray(returns, np.float64) - low) / (high - low), np.float64)


def comparability(env_id: str) -> str:
    """Return in words why scores there are not the published tables' kind, or ``""``.

    Raises:
        UserError: D4RL has no reference for the id.
    """
    name = family(env_id)
    if any(re.fullmatch(pattern, env_id.lower()) for pattern in _D4RL):
        return ""
    return (
        f"{env_id} is not D4RL's own {name} environment: these scores compare with each other, not "
        "with the published D4RL tables (locomotion: those of the -v2 datasets)"
    )
