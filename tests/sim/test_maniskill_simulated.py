"""ManiSkill's tasks in ManiSkill itself, on the CPU; skipped where it or Vulkan is missing.

The faucets and cabinets are stand-ins (``maniskill_assets``).

Run them with ``pip install 'embodied-stack[maniskill]'`` and a Vulkan driver (Mesa's software one).
"""

import numpy as np
import pytest
import torch

import sim
from embodied.environments import EnvConfig, make_task
from embodied.errors import UserError
from embodied.rollout import rollout
from embodied.stages.rewarded import RewardedEnv
from embodied.types import Transitions
from rewards import file
from sim.maniskill.behaviours import ManiSkillScripted
from tests.sim import maniskill_assets

pytest.importorskip("mani_skill", reason="ManiSkill is not installed")

TABLETOP = [f"maniskill_{name}" for name in ("pick_cube", "stack_cube", "push_cube", "pull_cube")]
TABLETOP += ["maniskill_lift_peg", "maniskill_insert_peg"]
ARTICULATED = ["maniskill_turn_faucet", "maniskill_open_drawer"]


def make(name, num_envs=2, **options):
    try:
        return sim.make(name, num_envs, device="cpu", **options)
    except UserError as error:
        if "Vulkan" in str(error):
            pytest.skip(str(error))
        raise


@pytest.fixture(params=TABLETOP + ARTICULATED, name="env", scope="module")
def _env(request, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        if request.param in ARTICULATED:
            maniskill_assets.install(tmp_path_factory.mktemp("assets"), patch)
        env = make(request.param)
        yield env
        env.close()


def inner(env):
    """Return ManiSkill's own environments."""
    return env._simulator._envs


def arrays(batch):
    def of(columns):
        return {name: values.numpy() for name, values in columns.items()}

    return Transitions(
        *(getattr(batch, name).numpy() for name in ("observation", "action", "next_observation")),
        batch.terminated.numpy(),
        batch.truncated.numpy(),
        of(batch.state),
        of(batch.next_state),
        of(batch.columns),
    )


def test_every_documented_field_is_measured(env):
    _, info = env.reset(seed=0)
    env.action_space.seed(0)
    for _ in range(3):
        assert list(info["state"]) == list(env.task.fields)
        for name, field in env.task.fields.items():
            values = info["state"][name]
            assert values.shape == (2, *field.shape), name
            assert values.dtype == np.float32, name
            assert np.isfinite(values).all(), name
            if name.endswith(("_quaternion", "_axis")):
                np.testing.assert_allclose(np.linalg.norm(values, axis=1), 1, rtol=1e-5)
            if field.low is not None:
                assert (values >= np.array(field.low) - 1e-3).all(), name
                assert (values <= np.array(field.high) + 1e-3).all(), name
        _, _, _, _, info = env.step(env.action_space.sample())


def test_what_is_told_is_what_maniskill_tells(env):
    env.reset(seed=1)
    env.action_space.seed(1)
    for _ in range(5):
        observation, _, _, _, info = env.step(env.action_space.sample())
    for index, other in enumerate(inner(env)):
        np.testing.assert_array_equal(observation[index], other.get_obs()[0].numpy())
        assert info["success"][index] == bool(other.evaluate()["success"][0])
        pose = other.get_obs(unflattened=True)["extra"]["tcp_pose"][0].numpy()
        told = [info["state"][f"tool_{part}"][index] for part in ("position", "quaternion")]
        np.testing.assert_allclose(np.concatenate(told), pose, atol=1e-6)


def test_the_documented_action_is_that_of_the_controller(env):
    low, high = [], []
    for controller in inner(env)[0].agent.controller.controllers.values():
        low += controller.action_space_low.tolist()
        high += controller.action_space_high.tolist()
    np.testing.assert_allclose(env.task.action.low, low, atol=1e-6)
    np.testing.assert_allclose(env.task.action.high, high, atol=1e-6)
    assert inner(env)[0].control_freq == env.task.control_hz


def test_the_expert_reward_scores_the_simulators_tensors_as_it_scores_arrays(env):
    reward = file.load(file.require_expert(env.task), env.task)
    env.reset(seed=2)
    env.step(env.action_space.sample())
    tensors = reward.score(env.transitions)
    same = reward.score(arrays(env.transitions))
    assert isinstance(tensors.total, torch.Tensor)
    for name, values in {"total": same.total, **same.terms}.items():
        found = tensors.total if name == "total" else tensors.terms[name]
        np.testing.assert_allclose(found.numpy(), values, rtol=1e-5, atol=1e-5)


def test_an_environment_goes_on_from_episode_to_episode_as_its_seed_decides():
    def story(num_envs, index):
        env = make("maniskill_pick_cube", num_envs, max_steps=3)
        try:
            observation, _ = env.reset(seed=10 - index)
            seen = [observation[index]]
            for step in range(7):
                action = np.full((num_envs, 4), 0.05 * (-1) ** step)
                seen.append(env.step(action)[0][index])
        finally:
            env.close()
        return np.array(seen)

    alone, beside = story(1, 0), story(3, 1)
    np.testing.assert_array_equal(alone, beside)
    assert not np.array_equal(alone[0], alone[3])
    assert not np.array_equal(alone[3], alone[6])


def test_seeds_that_maniskill_cannot_take_are_refused():
    env = make("maniskill_push_cube", 1)
    with pytest.raises(UserError, match="call reset"):
        env.step(np.zeros((1, 4)))
    with pytest.raises(UserError, match="below 2\\^32"):
        env.reset(seed=2**32)
    with pytest.raises(UserError, match="takes no options"):
        env.reset(options={"reconfigure": True})
    with pytest.raises(UserError, match="480 x 360"):
        env.render(0, 64, 64)
    env.close()


@pytest.mark.parametrize("name", ["maniskill_pick_cube", "maniskill_push_cube"])
def test_the_script_does_the_task_and_a_wrong_one_does_not(name):
    reward = file.load(file.require_expert(make_task(name)), make_task(name))
    env = make(name, 2, max_steps=40)
    means = {}
    try:
        for kind in ("true_goal", "wrong_goal"):
            shares = {"true_goal": 0, "wrong_goal": 0, "random": 0, kind: 1}
            behaviour = ManiSkillScripted(env.task, 2, 0, **shares, noise=0)
            episodes = [item for _, item in rollout(env, behaviour.act, 1, 0)]
            success = [bool(item.columns["success"][-1]) for item in episodes]
            # On its way to a wrong place a cube may be in the goal region when the time is over.
            assert all(success) == (kind == "true_goal")
            last = [
                Transitions(None, e.action[-1:], None, None, None, *states(e)) for e in episodes
            ]
            means[kind] = [float(reward.score(item).total[0]) for item in last]
    finally:
        env.close()
    assert min(means["true_goal"]) > max(means["wrong_goal"])


def states(episode):
    before = {name: values[-2:-1] for name, values in episode.state.items()}
    return before, {name: values[-1:] for name, values in episode.state.items()}


@pytest.mark.parametrize("name", ARTICULATED)
def test_missing_assets_are_told_and_nothing_is_asked(name, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *text: pytest.fail("asked on standard input"))
    from mani_skill.utils import assets

    monkeypatch.setattr(assets, "is_data_source_downloaded", lambda name: False)
    with pytest.raises(UserError, match=r"python -m mani_skill\.utils\.download_asset partnet_"):
        make(name, 1)


def test_a_policy_learns_from_a_reward_in_it_and_is_kept(tmp_path, monkeypatch):
    pytest.importorskip("stable_baselines3", reason="stable-baselines3 is not installed")
    make("maniskill_push_cube", 1).close()
    from embodied.files import read_json
    from embodied.stages import online
    from embodied.stages.labelled import DataConfig
    from embodied.stages.train import TrainConfig, train

    monkeypatch.setenv("EMBODIED_RUNS", str(tmp_path))
    monkeypatch.setattr(online, "CHECK_EPISODES", 2)
    run = train(
        TrainConfig(
            env=EnvConfig("maniskill_push_cube", num_envs=2, max_steps=8, device="cpu"),
            data=DataConfig(()),
            policy={"name": "ppo", "rollout_steps": 32, "batch_size": 16},
            reward={"name": "expert"},
            seeds=(0,),
            steps=64,
            log_every=32,
            curve_every=0,
            evaluation_episodes=2,
            videos=False,
        )
    )
    assert (run.path / "policy" / "0" / "policy.safetensors").is_file()
    assert (run.path / "reward" / "reward.py").is_file()
    assert read_json(run.path / "result.json")["success"]["mean"] is not None


def test_a_replaced_reward_is_scored_on_the_simulators_tensors():
    task = make_task("maniskill_push_cube")
    expert = file.load(file.expert_path(task), task)
    seen = []

    class Watched:
        def score(self, batch):
            seen.append(batch)
            return expert.score(batch)

        def provenance(self):
            return {}

    env = RewardedEnv(make("maniskill_push_cube", 1, seed=0), Watched())
    try:
        env.reset()
        _, paid, *_ = env.step(np.zeros((1, len(task.action.low)), np.float32))
    finally:
        env.close()
    assert torch.is_tensor(seen[0].next_state["tool_position"])
    assert isinstance(paid, np.ndarray)
    np.testing.assert_allclose(paid, expert.score(seen[0]).total.numpy())
