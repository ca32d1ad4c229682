"""What several folders' tests share: a small labelled dataset, random arrays, and the devices.

Simulation and storage are imported where they are used, so that the learners' tests also run on a
machine that has torch and NumPy alone.
"""

import numpy as np
import pytest
import torch

from embodied.engine.data import Source

torch.set_num_threads(1)  # tiny products: a second thread on a busy machine makes them crawl

PUSH_REWARD = '''\
def reward(state, action, next_state):
    """Reach for the cube and bring it closer to the target."""
    before = np.linalg.norm(state.cube_position - state.target_position, axis=-1)
    after = np.linalg.norm(next_state.cube_position - next_state.target_position, axis=-1)
    reach = -np.linalg.norm(next_state.tip_position - next_state.cube_position, axis=-1)
    progress = 10.0 * (before - after)
    near = 1.0 if after < 0.03 else 0.0
    return progress + 0.2 * reach + near, {"progress": progress, "reach": reach, "near": near}
'''


@pytest.fixture(scope="session")
def push_reward_file(tmp_path_factory):
    """Path of a reward for push, written by hand in the dialect."""
    path = tmp_path_factory.mktemp("reward") / "push.py"
    path.write_text(PUSH_REWARD, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def push_dataset(tmp_path_factory, push_reward_file):
    """A ``Dataset`` of 64 scripted push episodes, 50 steps each, labelled ``default``.

    Shared by the whole session: read it, and copy its folder before changing anything.
    """
    from embodied.dataset import Dataset
    from embodied.environments import EnvConfig
    from embodied.stages.collect import CollectConfig, collect
    from embodied.stages.label import LabelConfig, label

    folder = tmp_path_factory.mktemp("data") / "push"
    env = EnvConfig("push", num_envs=64)
    collect(CollectConfig(env, {"name": "scripted"}, str(folder), episodes=64))
    options = {"name": "file", "path": str(push_reward_file)}
    label(folder, LabelConfig(options, {"name": "recorded"}))
    dataset = Dataset(folder)
    assert np.ptp(dataset.true_reward()) == 1.0, "some transitions succeed and some do not"
    return dataset


@pytest.fixture(
    params=[
        "cpu",
        pytest.param(
            "cuda",
            marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU"),
        ),
    ]
)
def device(request):
    """Every device that a learner runs on."""
    return request.param


@pytest.fixture(scope="session")
def random_source():
    """Makes a ``Source`` of random episodes; every second one ends in a terminal state."""

    def make(lengths=(6, 9, 5, 12), observation_size=5, action_size=2, seed=0):
        rng = np.random.default_rng(seed)
        count, episodes = sum(lengths), len(lengths)
        ends = np.cumsum(lengths) - 1
        terminated = np.zeros(count, bool)
        terminated[ends[::2]] = True
        return Source(
            observation=rng.uniform(-1, 1, (count + episodes, observation_size)).astype(np.float32),
            action=rng.uniform(-1, 1, (count, action_size)).astype(np.float32),
            row=np.arange(count) + np.repeat(np.arange(episodes), lengths),
            terminated=terminated,
        )

    return make
