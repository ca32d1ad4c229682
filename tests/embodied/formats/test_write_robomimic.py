"""robomimic's documented layout."""

import json
from dataclasses import replace

import numpy as np
import pytest

from embodied.errors import UserError
from embodied.formats.robomimic_write import write
from tests.embodied.formats import written

h5py = pytest.importorskip("h5py")


def test_the_layout_is_the_documented_one(tmp_path):
    path = tmp_path / "data.hdf5"
    expected = written.episodes(camera=True)
    write(path, written.info(), iter(expected))
    with h5py.File(path) as file:
        data = file["data"]
        assert data.attrs["total"] == sum(length for length, _ in written.LENGTHS)
        assert json.loads(data.attrs["env_args"])["env_name"] == "push"
        # robomimic takes every member of ``data`` for a demonstration.
        assert set(data) == {f"demo_{index}" for index in range(len(expected))}
        for index, item in enumerate(expected):
            demo = data[f"demo_{index}"]
            length = len(item.action)
            assert demo.attrs["num_samples"] == length
            np.testing.assert_array_equal(demo["actions"], item.action)
            np.testing.assert_array_equal(demo["rewards"], item.columns["environment_reward"])
            assert demo["dones"][:].tolist() == [0] * (length - 1) + [int(item.terminated)]
            assert set(demo["obs"]) == set(demo["next_obs"]) == {"flat", *item.state}
            for key, values in {"flat": item.observation, **item.state}.items():
                np.testing.assert_array_equal(demo["obs"][key], values[:-1], strict=True)
                np.testing.assert_array_equal(demo["next_obs"][key], values[1:], strict=True)


def spoil(what):
    item = written.episodes()[0]
    if what == "range":
        return replace(item, action=item.action * 9)
    if what == "nan":
        return replace(item, action=item.action * np.float32(np.nan))
    return replace(item, state={"flat": item.state["cube"]})


@pytest.mark.parametrize(
    ("what", "told"),
    [("range", r"lie in \[-1, 1\]"), ("nan", r"lie in \[-1, 1\]"), ("name", "field named 'flat'")],
)
def test_what_has_no_place_there_is_told_and_leaves_nothing(tmp_path, what, told):
    with pytest.raises(UserError, match=told):
        write(tmp_path / "data.hdf5", written.info(), [spoil(what)])
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_left_alone(tmp_path):
    path = tmp_path / "data.hdf5"
    path.write_text("mine")
    with pytest.raises(UserError, match="exists already"):
        write(path, written.info(), written.episodes())
    assert path.read_text() == "mine"
