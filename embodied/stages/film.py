"""Videos of evaluated episodes: run again from their seeds, which repeats them exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from embodied.dataset import Episode
from embodied.environments import EnvConfig, make_environment
from embodied.episodes import outcome_arrays
from embodied.errors import UserError
from embodied.rollout import rollout


def film_both(
    env_config: EnvConfig,
    policies: list[Any],
    episodes: list[list[Episode]],
    seed: int,
    folder: Path,
) -> dict[str, Any]:
    """Film the first success and the first failure into ``folder/videos``.

    Returns:
        ``videos`` (kind -> path relative to ``folder``) and ``missing``: in plain words, which
        video is not there and why.
    """
    filmed: dict[str, str] = {}
    missing: list[str] = []
    for kind, wanted in (("success", True), ("failure", False)):
        place = first_with(episodes, wanted)
        if place is None:
            missing.append(f"No video of a {kind}: there was none in the evaluation.")
            continue
        name = f"videos/{kind}.mp4"
        try:
            film(env_config, policies[place[0]], seed + place[1], folder / name)
            filmed[kind] = name
        except UserError as error:
            missing.append(f"No video of a {kind}: {error}.")
    return {"videos": filmed, "missing": " ".join(missing)}


def first_with(episodes: list[list[Episode]], wanted: bool) -> tuple[int, int] | None:
    """Return (policy, episode) of the first episode with that outcome, or None."""
    for which, items in enumerate(episodes):
        success = outcome_arrays(items)["success"]
        if success is not None and (success == wanted).any():
            return which, int(np.argmax(success == wanted))
    return None


def film(env_config: EnvConfig, policy: Any, seed: int, path: Path) -> None:
    """Run one episode again from its seed, which repeats it exactly, and film it."""
    from embodied.video import write_video

    if env_config.id is not None:
        raise UserError("only the native tasks are filmed")
    env = make_environment(env_config, 1)
    frames: list[Any] = []

    def act(observation: Any, state: Any, start: Any) -> Any:
        frames.append(env.render(0, width=480, height=360))
        return policy.predict(observation, deterministic=True)[0]

    try:
        list(rollout(env, act, 1, [seed]))
        write_video(path, frames, fps=env.task.control_hz)
    finally:
        env.close()
