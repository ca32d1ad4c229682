"""What several folders' tests share: one small labelled dataset and one reward by hand."""

import numpy as np
import pytest

from embodied.dataset import Dataset
from embodied.environments import EnvConfig
from embodied.stages.collect import CollectConfig, collect
from embodied.stages.label import LabelConfig, label

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
    folder = tmp_path_factory.mktemp("data") / "push"
    env = EnvConfig("push", num_envs=64)
    collect(CollectConfig(env, {"name": "scripted"}, str(folder), episodes=64))
    options = {"name": "file", "path": str(push_reward_file)}
    label(folder, LabelConfig(options, {"name": "recorded"}))
    dataset = Dataset(folder)
    assert np.ptp(dataset.true_reward()) == 1.0, "some transitions succeed and some do not"
    return dataset
