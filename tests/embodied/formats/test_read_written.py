"""What our own writers leave in a foreign format comes back as it was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from embodied.errors import UserError
from embodied.files import read_json
from embodied.formats.writers import WRITERS
from tests.embodied.formats import written
from tests.embodied.formats.foreign import change_json, read


@pytest.mark.parametrize("name", ["lerobot", "minari", "robomimic"])
def test_every_column_comes_back_exactly(tmp_path, name):
    made = [written.episode(length, ended, i) for i, (length, ended) in enumerate(written.LENGTHS)]
    path = tmp_path / "foreign.hdf5"  # a folder in the other formats
    WRITERS[name](path, written.info(), made)
    dataset = read(path, tmp_path / "native")
    assert replace(dataset.info, origin={}) == replace(written.info(), origin={})
    assert dataset.info.origin.items() >= written.info().origin.items()
    assert dataset.num_episodes == len(made)
    for index, episode in enumerate(made):
        found = dataset.episode(index)
        assert found.terminated == episode.terminated
        np.testing.assert_array_equal(found.observation, episode.observation, strict=True)
        np.testing.assert_array_equal(found.action, episode.action, strict=True)
        for part in ("state", "columns"):
            assert sorted(getattr(found, part)) == sorted(getattr(episode, part))
            for key, values in getattr(episode, part).items():
                np.testing.assert_array_equal(getattr(found, part)[key], values, strict=True)


def test_videos_come_back_but_for_their_last_frame(tmp_path):
    made = [written.episode(5, True, 0, camera=True), written.episode(3, False, 1, camera=True)]
    WRITERS["lerobot"](tmp_path / "foreign", written.info(), made)
    dataset = read(tmp_path / "foreign", tmp_path / "native")
    for index, episode in enumerate(made):
        expected, found = (np.int16(e.state["front"]) for e in (episode, dataset.episode(index)))
        assert np.abs(found[:-1] - expected[:-1]).mean() < 8
        np.testing.assert_array_equal(found[-1], found[-2])
        np.testing.assert_array_equal(
            dataset.episode(index).state["cube"], episode.state["cube"], strict=True
        )


@pytest.mark.parametrize(
    "change",
    [
        {"info": None},
        {"info": 3},
        {"columns": {"../x": {"per": "row", "shape": [], "dtype": "<f4"}}},
        {"columns": {"state.gone": {"per": "row", "shape": [], "dtype": "<f4"}}},
        {"features": 3},
    ],
)
def test_a_malformed_description_is_told(tmp_path, change):
    WRITERS["lerobot"](tmp_path / "foreign", written.info(), [written.episode(3, True, 0)])
    path = tmp_path / "foreign" / "meta" / "embodied" / "dataset.json"
    if "columns" in change:
        change = {"columns": {**read_json(path)["columns"], **change["columns"]}}
    change_json(path, **change)
    with pytest.raises(UserError):
        read(tmp_path / "foreign", tmp_path / "native")


@pytest.mark.parametrize("dtype", ["object", "|V8", "<U9", "what", "<f4,<f4"])
def test_a_type_in_a_description_is_not_believed(tmp_path, dtype):
    WRITERS["lerobot"](tmp_path / "foreign", written.info(), [written.episode(3, True, 0)])
    path = tmp_path / "foreign" / "meta" / "embodied" / "dataset.json"
    columns = read_json(path)["columns"]
    columns["observation"]["dtype"] = dtype
    change_json(path, columns=columns)
    with pytest.raises(UserError):
        read(tmp_path / "foreign", tmp_path / "native")
