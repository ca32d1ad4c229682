"""How fast 64 push environments step, beside bare physics and the usual vector environments.

    python -m benchmarks.sim [--rounds 7] [--out benchmarks/results/sim.json]

Every candidate steps the same 64 environments for one episode per round under the same actions, the
candidates taking turns; medians over the rounds are reported, and ratios are medians of per-round
ratios. The floor is ``mujoco.rollout`` with the same threads and controls and nothing else. The
peers run a single environment as a user would write it: one ``MjData`` stepped by ``mj_step``, a
plain observation and no test of rest between control steps, so they do less than ours. Those that
start a process per environment are also measured with one environment per core, which spares them
the crowding; that is reported beside the peers, since it is no longer the same 64 environments.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
from mujoco.rollout import Rollout

import sim
from benchmarks.common import CORES, machine, quartiles, ratio, take_turns, write_result
from sim.so101 import ACTION_LIMIT, JOINT_HIGH, JOINT_LOW
from sim.tasks.push import PushTask

NUM_ENVS = 64
STEPS = PushTask.max_steps
SUBSTEPS = 20


class PlainEnv(gymnasium.Env):
    """The push task as a user would write it for Gymnasium, straight on ``MjData``."""

    def __init__(self) -> None:
        self._task = PushTask()
        self._model = mujoco.MjModel.from_xml_path(str(self._task.scene))
        self.data = mujoco.MjData(self._model)
        self._site = self._model.site("gripperframe").id
        self._low, self._high = np.array(JOINT_LOW), np.array(JOINT_HIGH)
        self.action_space = gymnasium.spaces.Box(-ACTION_LIMIT, ACTION_LIMIT, (6,), np.float32)
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (37,), np.float32)

    def reset(self, *, seed=None, options=None):
        """Start an episode."""
        super().reset(seed=seed)
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        start = self._task.start(self._rng)
        mujoco.mj_resetData(self._model, self.data)
        self.data.qpos[:] = start.qpos
        self._goal, self._target, self._count = start.goal, start.qpos[:6].copy(), 0
        mujoco.mj_forward(self._model, self.data)
        return self._observe(), {}

    def _observe(self):
        data = self.data
        tip, cube = data.site_xpos[self._site], data.qpos[6:9]
        parts = (data.qpos, self._target, tip, self._goal, cube - tip, self._goal - cube)
        return np.concatenate((*parts, data.qvel[:6]), dtype=np.float32, casting="same_kind")

    def step(self, action):
        """Take one control step."""
        self._target = np.clip(self._target + action, self._low, self._high)
        self.data.ctrl[:] = self._target
        self.data.qacc_warmstart[:] = 0  # as ours does, so that the physics is the same
        mujoco.mj_step(self._model, self.data, nstep=SUBSTEPS)
        self._count += 1
        near = np.linalg.norm(self.data.qpos[6:9] - self._goal) < 0.03
        success = bool(near and np.linalg.norm(self.data.qvel[6:9]) < 0.01)
        return self._observe(), float(success), False, self._count >= STEPS, {}


@dataclass(frozen=True)
class Candidate:
    """Something that steps environments; ``qpos`` tells where they are, where that can be asked."""

    num_envs: int
    reset: Callable[[], Any]
    step: Callable[[np.ndarray], Any]
    close: Callable[[], Any]
    qpos: Callable[[], np.ndarray] | None = None


def ours() -> Candidate:
    env = sim.make("push", NUM_ENVS, threads=CORES)
    return Candidate(
        NUM_ENVS,
        reset=lambda: env.reset(seed=0),
        step=env.step,
        close=env.close,
        qpos=lambda: env.get_state()["physics"][:, 1:14],
    )


def floor() -> Candidate:
    """The physics alone: one call of the thread pool per control step."""
    env = sim.make("push", NUM_ENVS, threads=1)
    env.reset(seed=0)
    begin = env.get_state()
    physics, target = begin["physics"].copy(), begin["joint_target"].copy()
    path = np.zeros((NUM_ENVS, SUBSTEPS, physics.shape[1]))
    control, sensors = np.zeros((NUM_ENVS, SUBSTEPS, 6)), np.zeros((NUM_ENVS, SUBSTEPS, 0))
    pool = Rollout(nthread=CORES if CORES > 1 else 0)
    models, data = [env.model] * NUM_ENVS, [mujoco.MjData(env.model) for _ in range(CORES)]

    def reset() -> None:
        physics[:], target[:] = begin["physics"], begin["joint_target"]

    def step(action: np.ndarray) -> None:
        target[:] = np.clip(target + action, JOINT_LOW, JOINT_HIGH)
        control[:] = target[:, None]
        pool.rollout(
            models,
            data,
            physics,
            control,
            nstep=SUBSTEPS,
            skip_checks=True,
            state=path,
            sensordata=sensors,
        )
        physics[:] = path[:, -1]

    return Candidate(NUM_ENVS, reset, step, pool.close, qpos=lambda: physics[:, 1:14])


def gymnasium_vector(kind: type, num_envs: int) -> Candidate:
    mode = gymnasium.vector.AutoresetMode.SAME_STEP
    env = kind([PlainEnv] * num_envs, autoreset_mode=mode)
    return Candidate(
        num_envs,
        reset=lambda: env.reset(seed=0),
        step=env.step,
        close=env.close,
        qpos=lambda: np.array([single.data.qpos for single in env.envs]),
    )


def stable_baselines3(num_envs: int) -> Candidate:
    from stable_baselines3.common.vec_env import SubprocVecEnv

    env = SubprocVecEnv([PlainEnv] * num_envs)

    def reset() -> None:
        env.seed(0)
        env.reset()

    return Candidate(num_envs, reset, env.step, env.close)


SYNC, ASYNC = gymnasium.vector.SyncVectorEnv, gymnasium.vector.AsyncVectorEnv
OURS, FLOOR = "ours", "mujoco.rollout alone"
PEERS: dict[str, Callable[[], Candidate]] = {
    "gymnasium SyncVectorEnv": partial(gymnasium_vector, SYNC, NUM_ENVS),
    "gymnasium AsyncVectorEnv": partial(gymnasium_vector, ASYNC, NUM_ENVS),
    "stable-baselines3 SubprocVecEnv": partial(stable_baselines3, NUM_ENVS),
}
# One environment per core is these two's fastest shape, though no longer the same 64.
SMALL: dict[str, Callable[[], Candidate]] = {
    f"gymnasium AsyncVectorEnv, {CORES} environments": partial(gymnasium_vector, ASYNC, CORES),
    f"stable-baselines3 SubprocVecEnv, {CORES} environments": partial(stable_baselines3, CORES),
}


def draw_actions() -> np.ndarray:
    """Return the actions [STEPS, NUM_ENVS, 6] of every round."""
    shape = (STEPS, NUM_ENVS, 6)
    rng = np.random.default_rng(0)
    return rng.uniform(-ACTION_LIMIT, ACTION_LIMIT, shape).astype(np.float32)


def check_equivalence(actions: np.ndarray) -> None:
    """Stop unless ours, the floor and the peers' environment move exactly alike."""
    places = []
    for make in (ours, floor, PEERS["gymnasium SyncVectorEnv"]):
        candidate = make()
        candidate.reset()
        for action in actions[: STEPS - 1]:
            candidate.step(action)
        assert candidate.qpos is not None
        places.append(candidate.qpos().copy())
        candidate.close()
    np.testing.assert_array_equal(places[0], places[1])
    np.testing.assert_array_equal(places[0], places[2])


def measure(candidate: Candidate, actions: np.ndarray) -> float:
    """Return environment steps per second over one episode, its automatic reset included."""
    candidate.reset()
    actions = actions[:, : candidate.num_envs]
    begin = time.perf_counter()
    for action in actions:
        candidate.step(action)
    return candidate.num_envs * STEPS / (time.perf_counter() - begin)


def summarise(rates: dict[str, list[float]]) -> dict[str, Any]:
    """Return medians and quartiles, and ours against the floor and against each peer."""
    rows = {name: quartiles(values) for name, values in rates.items()}
    best = max(PEERS, key=lambda name: rows[name]["median"])
    return {
        "control_steps_per_s": rows,
        "ratio_to_floor": ratio(rates, OURS, FLOOR),
        "best_peer": best,
        "ratio_to_best_peer": ratio(rates, OURS, best),
        "ratio_to_each": {name: ratio(rates, OURS, name) for name in (*PEERS, *SMALL)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/sim.json"))
    options = parser.parse_args()
    actions = draw_actions()
    check_equivalence(actions)
    print(f"equivalent: the same actions give the same qpos in all {NUM_ENVS} environments")
    about = machine(("mujoco", "gymnasium", "stable-baselines3", "numpy"))
    makers = {OURS: ours, FLOOR: floor, **PEERS, **SMALL}
    candidates = {name: make() for name, make in makers.items()}
    measures = {name: partial(measure, item, actions) for name, item in candidates.items()}
    rates = take_turns(options.rounds, measures)
    for candidate in candidates.values():
        candidate.close()
    summary = summarise(rates)
    for name, row in summary["control_steps_per_s"].items():
        print(f"{name:55s} {row['median']:9.0f} control steps/s")
    print(f"of the floor: {summary['ratio_to_floor']:.3f}")
    print(f"to the best peer ({summary['best_peer']}): {summary['ratio_to_best_peer']:.2f}")
    result = {
        "num_envs": NUM_ENVS,
        "substeps": SUBSTEPS,
        "rounds": options.rounds,
        **summary,
        "every_round": rates,
    }
    write_result(options.out, "sim", about, result)


if __name__ == "__main__":
    main()
