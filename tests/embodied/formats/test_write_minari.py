"""Minari's own library reads what we wrote, bit for bit."""

from dataclasses import replace

import numpy as np
import pytest

from embodied.errors import UserError
from embodied.formats.minari_write import dataset_id, write
from tests.embodied.formats import written

minari = pytest.importorskip("minari")


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    path = tmp_path_factory.mktemp("minari") / "data"
    write(path, written.info(), iter(written.episodes(camera=True)))
    return minari.MinariDataset(path / "data")


def same(found, expected):
    np.testing.assert_array_equal(found, expected, strict=True)


def test_minari_knows_the_dataset(opened):
    assert opened.id == "embodied/push-v0"
    assert opened.total_episodes == 4
    assert opened.total_steps == sum(length for length, _ in written.LENGTHS)
    assert opened.action_space.low.tolist() == [-1.0, -0.5]
    assert opened.observation_space.shape == (4,)
    assert "rad" in opened.storage.metadata["description"]


def test_minari_reads_every_value(opened):
    for found, expected in zip(opened, written.episodes(camera=True), strict=True):
        same(found.observations, expected.observation)
        same(found.actions, expected.action)
        same(found.rewards, expected.columns["environment_reward"])
        assert found.terminations.tolist()[-1] == expected.terminated
        assert found.truncations.tolist()[-1] == (not expected.terminated)
        assert not found.terminations[:-1].any()
        assert not found.truncations[:-1].any()
        for name, values in expected.state.items():
            same(found.infos["state"][name], values)
        # The first entry of Minari's infos belongs to the reset.
        for name, values in expected.columns.items():
            if name != "environment_reward":
                same(found.infos[name][1:], values)
                assert not found.infos[name][:1].any()


def test_minari_samples_and_filters_it(opened):
    assert len(opened.sample_episodes(2)) == 2
    assert len(opened.filter_episodes(lambda item: bool(item.terminations[-1]))) == 2


def test_without_a_reward_it_says_that_there_is_none(tmp_path):
    item = replace(written.episodes()[0], columns={})
    write(tmp_path / "data", written.info(), [item])
    opened = minari.MinariDataset(tmp_path / "data" / "data")
    assert not opened[0].rewards.any()
    assert "No reward was recorded" in opened.storage.metadata["description"]


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ("push", "embodied/push-v0"),
        ("HalfCheetah-v5", "embodied/HalfCheetah-v0"),
        ("D4RL/pen/human-v2", "embodied/D4RL-pen-human-v0"),
        ("", "embodied/dataset-v0"),
    ],
)
def test_ids_are_ones_that_minari_takes(environment, name):
    assert dataset_id(environment) == name
    assert minari.dataset.minari_dataset.parse_dataset_id(name)


def test_what_cannot_be_written_leaves_nothing(tmp_path):
    item = written.episodes()[0]
    clash = replace(item, columns={"state": item.columns["small"]})
    with pytest.raises(UserError, match="'state' has no place"):
        write(tmp_path / "data", written.info(), [clash])
    with pytest.raises(UserError, match="other columns"):
        write(tmp_path / "data", written.info(), [item, replace(item, columns={})])
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "data").mkdir()
    with pytest.raises(UserError, match="exists already"):
        write(tmp_path / "data", written.info(), [item])
