"""Short names to objects: the only place where a name from a config becomes code.

Each name maps to a ``module:object`` string that is imported when it is asked for. A config that
came with somebody's run can therefore do no more than a name in these tables can. Third parties add
names by an entry point in the group ``embodied.<kind>``, for example ``embodied.reward``.
"""

from __future__ import annotations

import importlib
import importlib.util
import operator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from embodied.errors import UserError

# ``environment`` entries are makers of vector environments, ``behaviour`` of behaviours and so on;
# the stages say with which arguments each kind is called.
NAMES: dict[str, dict[str, str]] = {
    "task": {
        "reach": "sim.tasks.reach:ReachTask",
        "push": "sim.tasks.push:PushTask",
        "lift": "sim.tasks.lift:LiftTask",
        "stack": "sim.tasks.stack:StackTask",
        "hopper_forward": "sim.locomotion.tasks:hopper_forward",
        "hopper_front_flip": "sim.locomotion.tasks:hopper_front_flip",
        "hopper_back_flip": "sim.locomotion.tasks:hopper_back_flip",
        "ant_forward": "sim.locomotion.tasks:ant_forward",
        "ant_lie_down": "sim.locomotion.tasks:ant_lie_down",
        "ant_wave_leg": "sim.locomotion.tasks:ant_wave_leg",
        "halfcheetah_forward": "sim.locomotion.tasks:halfcheetah_forward",
        "walker2d_forward": "sim.locomotion.tasks:walker2d_forward",
        "cartpole": "sim.cartpole.task:CartPoleTask",
        "maniskill_pick_cube": "sim.maniskill.tabletop:pick_cube",
        "maniskill_stack_cube": "sim.maniskill.tabletop:stack_cube",
        "maniskill_push_cube": "sim.maniskill.tabletop:push_cube",
        "maniskill_pull_cube": "sim.maniskill.tabletop:pull_cube",
        "maniskill_lift_peg": "sim.maniskill.tabletop:lift_peg",
        "maniskill_insert_peg": "sim.maniskill.tabletop:insert_peg",
        "maniskill_turn_faucet": "sim.maniskill.articulated:turn_faucet",
        "maniskill_open_drawer": "sim.maniskill.articulated:open_drawer",
    },
    "environment": {
        "native": "sim:make",  # every documented task
        "gymnasium": "sim.gymnasium_adapter:make",
    },
    "frames": {"native": "sim.frames:make"},
    "preference_page": {"serve": "rewards.preferences.page:serve"},
    "behaviour": {
        "random": "sim.behaviours:RandomBehaviour",
        "scripted": "sim.behaviours:ScriptedBehaviour",
        "maniskill_scripted": "sim.maniskill.behaviours:ManiSkillScripted",
        "cartpole_scripted": "sim.cartpole.behaviours:CartPoleScripted",
        "sac_replay": "policies.replay_behaviour:SACReplayBehaviour",
    },
    "reward": {
        "text2reward": "rewards.makers:text2reward",
        "file": "rewards.makers:from_file",
        "expert": "rewards.makers:expert",
        "saved": "rewards.makers:from_run",
        "constant": "rewards.makers:constant",
        "success": "rewards.makers:success",
        "ensemble": "rewards.makers:from_runs",
        "rlvlmf": "rewards.makers:rlvlmf",
        "rlvlmf_online": "rewards.makers:rlvlmf_online",
    },
    "improvement": {
        "revise": "rewards.improve:revise",
        "sample": "rewards.reflection:sample",
    },
    "provider": {
        "recorded": "rewards.providers.recorded:RecordedProvider",
        "openai": "rewards.providers.openai_http:OpenAIProvider",
        "anthropic": "rewards.providers.anthropic_http:AnthropicProvider",
        "transformers": "rewards.providers.transformers_chat:TransformersProvider",
    },
    "policy": {
        "iql": "policies.iql:IQL",
        "bc": "policies.bc:BC",
        "sac": "policies.sac:SAC",
        "ppo": "policies.ppo:PPO",
        "td3bc": "policies.td3bc:TD3BC",
        "cql": "policies.cql:CQL",
        "cpl": "policies.cpl:CPL",
    },
    "package": {
        "make": "policies.package:make",
        "save": "policies.package:save",
        "load": "policies.package:load_package",
    },
    "robot": {
        "mujoco_so101": "real_robot.drivers.mujoco_robot:MujocoRobot.from_mapping",
    },
    "limits": {"so101": "real_robot.limits:so101_limits"},
    "session": {"guarded": "real_robot.session:run_guarded"},
}

FOLDERS = ("embodied", "rewards", "policies", "sim", "real_robot")


def names(kind: str) -> list[str]:
    """Return every known name of a kind, ours and those of installed entry points."""
    return sorted({*NAMES[kind], *(point.name for point in entry_points(group=f"embodied.{kind}"))})


def resolve(kind: str, name: str) -> Any:
    """Import and return the object behind a short name.

    Raises:
        UserError: The name is unknown; the message lists those that are known.
    """
    target = NAMES[kind].get(name)
    if target is None:
        for point in entry_points(group=f"embodied.{kind}"):
            if point.name == name:
                return point.load()
        raise UserError(f"unknown {kind} {name!r}; known: {', '.join(names(kind))}")
    module, _, attribute = target.partition(":")
    return operator.attrgetter(attribute)(importlib.import_module(module))


def check_siblings() -> None:
    """Stop when another installed package shadows one of our generically named folders."""
    root = Path(__file__).resolve().parent.parent
    for folder in FOLDERS:
        spec = importlib.util.find_spec(folder)
        found = Path(spec.origin).resolve().parent if spec and spec.origin else None
        if found != root / folder:
            raise UserError(
                f"the package {folder!r} resolves to {found or 'nothing'}, not to {root / folder}: "
                "another package of that name shadows it; remove it or use a fresh environment"
            )
