"""What we write in any format comes back as it was; damage to it is told and nothing worse."""

import json
from dataclasses import replace

import numpy as np
import pytest

from embodied.dataset import EXTRA, STATE, Dataset
from embodied.errors import UserError
from embodied.formats import lerobot_write, open_dataset
from embodied.formats.convert import convert
from embodied.formats.writers import WRITERS, writer
from tests.embodied.formats import written


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch):
    """Files of our own need no process apart."""
    monkeypatch.setattr("embodied.formats.opening.convert_apart", convert)


def place(folder, name):
    return folder / ("data.hdf5" if name == "robomimic" else "data")


@pytest.mark.parametrize("name", WRITERS)
def test_every_column_comes_back_bit_for_bit(tmp_path, name):
    path, expected = place(tmp_path, name), written.episodes()
    writer(name)(path, written.info(), iter(expected))
    found = open_dataset(path)
    assert found.num_episodes == len(expected)
    for index, item in enumerate(expected):
        written.assert_equal(found.episode(index), item)
    about = written.info()
    assert found.info.action == about.action
    assert found.info.fields == about.fields
    assert found.info.control_hz == about.control_hz
    assert found.info.environment == about.environment
    assert found.info.origin["seed"] == about.origin["seed"]


@pytest.mark.parametrize("name", WRITERS)
def test_what_is_not_there_does_not_come_back(tmp_path, name):
    """Formats with a reward in every row get zeros, which are no column of ours."""
    path = place(tmp_path, name)
    bare = [replace(item, columns={}, state={}) for item in written.episodes()]
    writer(name)(path, written.info(), bare)
    names = {"observation", "action", "terminated", "truncated"}
    assert set(open_dataset(path).column_names) == names


@pytest.mark.parametrize("name", WRITERS)
def test_images_come_back(tmp_path, name):
    path, item = place(tmp_path, name), written.episode(5, False, 0, camera=True)
    writer(name)(path, written.info(), [item])
    found = open_dataset(path).episode(0).state["front"]
    expected = item.state["front"]
    if name != "lerobot":
        np.testing.assert_array_equal(found, expected, strict=True)
        return
    # Compressed, and the last frame is not in the video: the one before stands in for it.
    assert found.shape == expected.shape
    for step in range(6):
        error = np.abs(found[step].astype(int) - expected[min(step, 4)])
        assert np.median(error) < 5


def test_a_dataset_of_many_files_comes_back(tmp_path):
    expected = written.episodes()
    lerobot_write.write(tmp_path / "data", written.info(), expected, data_mb=0.001)
    assert len(list((tmp_path / "data" / "data").rglob("*.parquet"))) == 4
    found = open_dataset(tmp_path / "data")
    for index, item in enumerate(expected):
        written.assert_equal(found.episode(index), item)


def test_without_our_file_lerobots_last_transition_follows_the_rule(tmp_path):
    path, expected = tmp_path / "data", written.episodes()
    writer("lerobot")(path, written.info(), expected)
    (path / "meta" / "embodied" / "final_observations.parquet").unlink()
    (path / "meta" / "embodied" / "dataset.json").unlink()
    found = open_dataset(path)
    # Terminal ends keep their action with a stand-in; time limits lose it.
    assert found.episode_lengths.tolist() == [7, 4, 1, 8]
    first, second = found.episode(0), found.episode(1)
    np.testing.assert_array_equal(first.state["cube"][:-1], expected[0].state["cube"][:-1])
    np.testing.assert_array_equal(first.state["cube"][-1], expected[0].state["cube"][-2])
    np.testing.assert_array_equal(second.state["cube"], expected[1].state["cube"][:-1])


def lies(description):
    """Changes to our description that a stranger might make."""
    described = description["columns"]
    observation, cube = described["observation"], described[f"{STATE}cube"]
    changes = {
        "size": {"observation": {**observation, "shape": [9]}},
        "name": {"../../x": cube},
        "absent": {f"{EXTRA}none": cube},
    }
    return {
        "no columns": {**description, "columns": None},
        "no info": {**description, "info": {}},
        "list": [],
        **{name: {**description, "columns": described | item} for name, item in changes.items()},
    }


LIES = ("no columns", "no info", "size", "name", "absent", "list")


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("name", ["lerobot", "minari", "robomimic"])
def test_a_description_that_lies_is_told(tmp_path, name, lie):
    h5py = pytest.importorskip("h5py")
    path = place(tmp_path, name)
    writer(name)(path, written.info(), written.episodes())
    if name == "robomimic":
        with h5py.File(path, "a") as file:
            changed = json.dumps(lies(json.loads(file["embodied"][:].tobytes()))[lie])
            del file["embodied"]
            file["embodied"] = np.frombuffer(changed.encode(), np.uint8)
    elif name == "minari":
        stored = path / "data" / "metadata.json"
        metadata = json.loads(stored.read_text())
        changed = {**metadata, "embodied": lies(metadata["embodied"])[lie]}
        stored.write_text(json.dumps(changed))
    else:
        stored = path / "meta" / "embodied" / "dataset.json"
        description = json.loads(stored.read_text())
        stored.write_text(json.dumps(lies(description)[lie]))
    before = set(tmp_path.rglob("*"))
    with pytest.raises(UserError):
        convert(path, name, tmp_path / "native")
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["lerobot", "minari", "robomimic"])
def test_truncated_files_are_told(tmp_path, name):
    path = place(tmp_path, name)
    writer(name)(path, written.info(), written.episodes()[:2])
    files = [path] if path.is_file() else [item for item in path.rglob("*") if item.is_file()]
    for item in files:
        whole = item.read_bytes()
        if item.name == "stats.json":
            continue  # nothing is read of it
        item.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(UserError):
            convert(path, name, tmp_path / "native")
        item.write_bytes(whole)
    convert(path, name, tmp_path / "native")
    assert Dataset(tmp_path / "native").num_episodes == 2
