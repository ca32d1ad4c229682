from __future__ import annotations

import os
import shutil
import sys

import h5py
import numpy as np
import pytest

from embodied.dataset import Dataset
from embodied.errors import UserError
from embodied.formats import convert as converting
from embodied.formats import open_dataset, open_datasets
from embodied.labels import read_labels, write_labels
from embodied.types import Score
from tests.embodied.formats.foreign import copy_lerobot_v30, write_d4rl, write_robomimic


class Constant:
    def score(self, batch):
        return Score(np.ones(len(batch), np.float32), {})

    def provenance(self):
        return {"kind": "constant"}


def snapshot(path):
    return path.read_bytes(), path.stat().st_mtime_ns


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def _in_this_process(monkeypatch):
    """Converts without a process of its own, where that is not what is tested."""
    monkeypatch.setattr("embodied.formats.opening.convert_apart", converting.convert)


def test_a_foreign_file_is_converted_once_and_never_changed(tmp_path, monkeypatch):
    path = write_d4rl(tmp_path / "a.hdf5")
    before = snapshot(path)
    dataset = open_dataset(path)
    assert dataset.folder.parent == tmp_path / "a.hdf5.embodied"
    write_labels(dataset, "default", Constant())
    # A second look needs no conversion, and finds the labels.
    monkeypatch.setattr(converting.subprocess, "run", None)
    again = open_dataset(path)
    assert (again.folder, again.digest) == (dataset.folder, dataset.digest)
    assert read_labels(again, "default")[0].tolist() == [1.0] * len(dataset)
    assert snapshot(path) == before


@pytest.mark.usefixtures("_in_this_process")
def test_a_changed_source_is_converted_anew_and_earlier_labels_stay(tmp_path):
    path = write_d4rl(tmp_path / "a.hdf5")
    first = open_dataset(path)
    labels = write_labels(first, "default", Constant())
    path.unlink()
    second = open_dataset(write_d4rl(path, ends="...T"))
    assert second.folder != first.folder
    assert second.episode_lengths.tolist() == [4]
    assert labels.is_file()


@pytest.mark.usefixtures("_in_this_process")
def test_where_nothing_may_be_written_the_cache_is_the_user_s(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    path = write_d4rl(tmp_path / "data" / "a.hdf5")
    # Root may write everywhere, so the answer of the system is replaced.
    monkeypatch.setattr(os, "access", lambda *_: False)
    dataset = open_dataset(path)
    assert dataset.folder.is_relative_to(tmp_path / "cache" / "embodied")
    assert [item.name for item in (tmp_path / "data").iterdir()] == ["a.hdf5"]
    assert open_dataset(path).folder == dataset.folder


@pytest.mark.usefixtures("_in_this_process")
def test_videos_are_found_after_dataset_and_cache_moved(tmp_path):
    (tmp_path / "here").mkdir()
    open_dataset(copy_lerobot_v30(tmp_path / "here" / "v30"))
    shutil.move(tmp_path / "here", tmp_path / "there")
    dataset = open_dataset(tmp_path / "there" / "v30")
    assert len(list((tmp_path / "there" / "v30.embodied").iterdir())) == 1
    assert dataset.column("state.front")[0].shape == (32, 32, 3)


@pytest.mark.usefixtures("_in_this_process")
def test_parts_of_the_observation_can_be_named(tmp_path):
    path = write_d4rl(tmp_path / "a.hdf5")
    fields = {"goal": {"slice": [1, 2], "unit": "m", "frame": "world"}}
    (dataset,) = open_datasets([path], fields)
    field = dataset.info.fields["goal"]
    assert (field.shape, field.unit, field.frame) == ((1,), "m", "world")
    batch = dataset.transitions(slice(0, 3))
    np.testing.assert_array_equal(batch.next_state["goal"], batch.next_observation[:, 1:2])
    assert batch.state["goal"].dtype == np.float32
    # Names are a view of the same data, so the labels are the same.
    assert open_dataset(path).digest == dataset.digest
    assert not open_dataset(path).has("state.goal")


@pytest.mark.parametrize(
    "fields",
    [
        {"goal": {"slice": [1, 3]}},
        {"goal": {"slice": [1, 1]}},
        {"goal": {"slice": [-1, 1]}},
        {"goal": {"slice": [1]}},
        {"goal": {"slice": ["a", "b"]}},
        {"goal": {}},
        {"goal": {"slice": [0, 1], "units": "m"}},
        {"../goal": {"slice": [0, 1]}},
        {"goal": 3},
    ],
)
def test_a_wrong_field_is_told(tmp_path, fields):
    folder = tmp_path / "native"
    converting.convert(write_d4rl(tmp_path / "a.hdf5"), "d4rl", folder)
    with pytest.raises(UserError):
        open_dataset(folder, fields)


def test_what_is_no_dataset_is_told(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.pkl").write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")
    with h5py.File(tmp_path / "b.hdf5", "w") as file:
        file["x"] = 1
    for name in ("empty", "missing"):
        with pytest.raises(UserError, match=r"no dataset\.json"):
            open_dataset(tmp_path / name)
    for name in ("a.pkl", "b.hdf5"):
        with pytest.raises(UserError, match="no dataset that is read"):
            open_dataset(tmp_path / name)


def test_an_error_of_the_converting_process_is_one_line_and_leaves_nothing(tmp_path):
    path = write_robomimic(tmp_path / "a.hdf5")
    with h5py.File(path, "a") as file:
        del file["data/demo_0/actions"]
    with pytest.raises(UserError, match="lacks /data/demo_0/actions"):
        open_dataset(path)
    assert [item.name for item in (tmp_path / "a.hdf5.embodied").iterdir()] == []


@pytest.mark.parametrize(
    ("body", "ending"), [("os.abort()", "SIGABRT"), ("sys.exit(7)", "exit code 7")]
)
def test_a_crash_while_reading_is_told(tmp_path, monkeypatch, body, ending):
    path = write_d4rl(tmp_path / "a.hdf5")
    monkeypatch.setattr(converting, "_CHILD", f"import os, sys; {body}")
    with pytest.raises(UserError, match=ending):
        open_dataset(path)


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_memory_is_bounded(tmp_path, monkeypatch):
    path = write_d4rl(tmp_path / "a.hdf5")
    greedy = "converting.convert = lambda *_: np.ones(2**28)"
    monkeypatch.setattr(
        converting,
        "_CHILD",
        "import json, sys; given = json.load(sys.stdin); sys.path[:] = given.pop('path'); "
        "import numpy as np; from embodied.formats import convert as converting; "
        f"converting.MEMORY_BYTES = 2**30; {greedy}; converting._child(**given)",
    )
    with pytest.raises(UserError, match="needs more than 1 GiB"):
        open_dataset(path)


def test_another_process_that_was_faster_is_no_error(tmp_path, monkeypatch):
    path = write_d4rl(tmp_path / "a.hdf5")

    def meanwhile(path, kind, folder):
        converting.convert(path, kind, folder)
        raise UserError(f"{folder} exists already")

    monkeypatch.setattr("embodied.formats.opening.convert_apart", meanwhile)
    assert isinstance(open_dataset(path), Dataset)
