"""How ManiSkill's environments are driven: many of one, or one of many as on a GPU."""

import types

import numpy as np
import pytest
import torch

from embodied.types import Field
from sim.maniskill.environment import ManiSkillEnv
from sim.maniskill.quantities import Quantity
from sim.maniskill.simulator import Simulator
from sim.maniskill.task import ManiSkillTask

ACTION = Field((2,), "m", "A change of the position.", "world", low=(-0.1, 0.0), high=(0.1, 0.4))
FIELDS = {"position": Quantity(Field((2,), "m", "Where it is.", "world"), lambda env: env.position)}


def task(**changes):
    return ManiSkillTask(
        "fake", "Fake-v1", "go there at once", FIELDS, ACTION, "none", max_steps=3, **changes
    )


class FakeBase:
    """ManiSkill's interface: a point per sub-environment that moves by its unit action."""

    def __init__(self, num_envs):
        self.position = torch.zeros(num_envs, 2)
        self.single_observation_space = types.SimpleNamespace(shape=(1, 3))
        self.resets, self.actions = [], []

    def _told(self):
        rows = len(self.position)
        observation = torch.cat([self.position, torch.ones(rows, 1)], dim=1)
        return observation, {"success": self.position[:, 0] > 0.5}

    def reset(self, seed=None, options=None):
        self.resets.append((seed, options))
        where = (options or {}).get("env_idx", torch.arange(len(self.position)))
        self.position[where] = torch.tensor([float((seed or [-1])[0]) / 100, 0.0])
        return self._told()

    def step(self, action):
        self.actions.append(action.clone())
        self.position += action
        observation, info = self._told()
        never = torch.zeros(len(self.position), dtype=torch.bool)
        return observation, self.position[:, 1], info["success"], never, info

    def close(self):
        self.closed = True


def together(rows, **changes):
    base = FakeBase(rows)
    return Simulator(task(**changes), [base], torch.device("cpu")), [base]


def apart(rows, **changes):
    bases = [FakeBase(1) for _ in range(rows)]
    return Simulator(task(**changes), bases, torch.device("cpu")), bases


@pytest.mark.parametrize("make", [together, apart])
def test_every_seed_begins_its_own_environment(make):
    simulator, _ = make(3)
    assert simulator.observation_size == 3
    moment = simulator.reset([5, 9, 5])
    expected = np.array([[0.05, 0], [0.09, 0], [0.05, 0]])
    np.testing.assert_allclose(moment.state["position"].numpy(), expected, rtol=1e-6)
    np.testing.assert_allclose(moment.observation[:, :2].numpy(), expected, rtol=1e-6)
    assert not moment.success.any()


def test_environments_that_are_one_batch_are_seeded_one_by_one():
    simulator, (base,) = together(3)
    simulator.reset([5, None, 7])
    assert base.resets[0] == (None, None)
    told = [(seed, options["env_idx"].tolist()) for seed, options in base.resets[1:]]
    assert told == [([5], [0]), ([7], [2])]


def test_where_that_cannot_be_all_begin_in_one_call():
    simulator, (base,) = together(3, begins_alone=False)
    simulator.reset([5, 6, 7])
    simulator.reset([None] * 3)
    assert base.resets == [([5, 6, 7], None), (None, None)]


@pytest.mark.parametrize("make", [together, apart])
def test_actions_are_brought_from_their_own_units_to_those_of_the_controller(make):
    simulator, bases = make(3)
    simulator.reset([0, 0, 0])
    action = torch.tensor([[-0.1, 0.0], [0.0, 0.2], [0.1, 0.4]])
    moment, reward = simulator.step(action)
    unit = torch.cat([base.actions[0] for base in bases])
    np.testing.assert_allclose(unit.numpy(), [[-1, -1], [0, 0], [1, 1]], atol=1e-6)
    np.testing.assert_allclose(moment.state["position"].numpy(), unit.numpy(), atol=1e-6)
    np.testing.assert_allclose(reward.numpy(), unit[:, 1].numpy(), atol=1e-6)
    assert moment.success.tolist() == [False, False, True]


@pytest.fixture(params=[together, apart], name="env")
def _env(request, monkeypatch):
    def make(given, num_envs, device):
        return request.param(num_envs)[0]

    monkeypatch.setattr("sim.maniskill.environment.simulate", make)
    return ManiSkillEnv(task(), 2, device="cpu")


def test_an_episode_ends_by_time_alone_and_the_next_one_begins_in_the_same_step(env):
    env.reset(seed=60)
    still = np.array([[0.0, 0.2]] * 2)
    for step in (1, 2, 3):
        observation, _, terminated, truncated, info = env.step(still)
        assert not terminated.any()
        assert truncated.all() == (step == 3)
    # The seeds 60 and 61 begin in success; the next episodes, unseeded, do not.
    np.testing.assert_allclose(observation[:, 0], -0.01)
    assert not info["success"].any()
    np.testing.assert_allclose(info["final_obs"][1][0], 0.61, rtol=1e-6)
    np.testing.assert_allclose(info["final_info"]["state"]["position"][:, 0], [0.6, 0.61])
    assert info["final_info"]["success"].all()


def test_the_last_step_is_there_as_tensors_from_before_and_after_it(env):
    env.reset(seed=0)
    assert env.transitions is None
    for _ in range(3):
        env.step(np.array([[0.05, 0.2], [-0.5, 9.0]]))
    batch = env.transitions
    # The second action was clipped to its bounds; the tensors hold what the robot got.
    np.testing.assert_allclose(batch.action.numpy(), [[0.05, 0.2], [-0.1, 0.4]])
    np.testing.assert_allclose(
        (batch.next_state["position"] - batch.state["position"]).numpy(), [[0.5, 0], [-1, 1]]
    )
    # The end of an episode is told with its own last state, not with the next one's first.
    assert batch.truncated.all()
    np.testing.assert_allclose(batch.next_observation[:, 0].numpy(), [1.5, -2.99], rtol=1e-6)
    assert batch.columns["success"].tolist() == [True, False]


def test_the_first_reset_takes_the_seed_that_was_given_for_it(monkeypatch):
    made = []

    def make(given, num_envs, device):
        simulator, bases = apart(num_envs)
        made.extend(bases)
        return simulator

    monkeypatch.setattr("sim.maniskill.environment.simulate", make)
    ManiSkillEnv(task(), 2, seed=3, device="cpu").reset()
    assert [base.resets[0][0] for base in made] == [[3], [4]]
    made.clear()
    ManiSkillEnv(task(), 2, device="cpu").reset()
    (first,), (second,) = (base.resets[0][0] for base in made)
    assert second == first + 1  # drawn, and not ManiSkill's, which are all the same
