"""What a stranger's files must not bring about: code that runs, full disks, tracebacks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from embodied.dataset_json import info_from_json, info_to_json
from embodied.errors import UserError
from embodied.formats import convert as converting
from embodied.formats import open_dataset
from embodied.formats.video_column import inside
from embodied.labels import write_labels
from tests.embodied.formats.foreign import (
    change_json,
    copy_lerobot_v30,
    read,
    write_d4rl,
    write_lerobot_v21,
    write_robomimic,
)
from tests.embodied.formats.test_read_opening import Constant


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def _in_this_process(monkeypatch):
    monkeypatch.setattr("embodied.formats.opening.convert_apart", converting.convert)


def test_modules_in_the_current_folder_are_not_run(tmp_path, monkeypatch):
    path = write_d4rl(tmp_path / "a.hdf5")
    for name in ("json", "ctypes", "resource", "h5py"):
        (tmp_path / f"{name}.py").write_text("open('owned', 'w'); raise SystemExit('owned')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), *sys.path])
    monkeypatch.setenv("PYTHONPATH", f":{os.environ.get('PYTHONPATH', '')}")
    assert len(open_dataset(path)) > 0
    assert not (tmp_path / "owned").exists()


def test_arrays_that_were_never_stored_are_refused(tmp_path):
    path = write_d4rl(tmp_path / "a.hdf5")
    with h5py.File(path, "a") as file:
        for number in range(4):
            file.create_dataset(f"infos/{number}", (7, 2**26), "f4", chunks=True, compression=4)
    assert path.stat().st_size < 2**20
    with pytest.raises(UserError, match="most of it was never written"):
        read(path, tmp_path / "native")


def test_one_array_under_many_names_counts_every_time(tmp_path):
    path = write_robomimic(tmp_path / "a.hdf5")
    with h5py.File(path, "a") as file:
        one = file.create_dataset("one", (3, 2**14), "f8", chunks=True, compression=4)
        for number in range(3000):
            file[f"data/demo_0/obs/{number}"] = one
    with pytest.raises(UserError, match="most of it was never written"):
        read(path, tmp_path / "native")


def test_a_group_within_itself_ends(tmp_path):
    path = write_d4rl(tmp_path / "a.hdf5")
    with h5py.File(path, "a") as file:
        file["infos/again"] = file["/"]
    assert len(read(path, tmp_path / "native")) > 0


def test_a_conversion_leaves_room_on_the_disk(tmp_path, monkeypatch):
    path = write_d4rl(tmp_path / "a.hdf5")
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(converting.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match="more disk space than is free"):
        read(path, tmp_path / "native")
    assert [item.name for item in tmp_path.iterdir()] == ["a.hdf5"]


@pytest.mark.skipif(sys.platform != "linux", reason="the signal is Linux's")
def test_the_converting_process_ends_with_its_parent(tmp_path):
    path = write_d4rl(tmp_path / "a.hdf5")
    note = tmp_path / "note"
    child = (
        "import json, sys; given = json.load(sys.stdin); sys.path[:] = given.pop('path'); "
        "import os, time; from pathlib import Path; from embodied.formats import convert as c; "
        f"c.convert = lambda *_: (Path({str(note)!r}).write_text(str(os.getpid())), "
        "time.sleep(60)); c._child(**given)"
    )
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from embodied.formats import convert, open_dataset; "
            f"convert._CHILD = {child!r}; open_dataset({str(path)!r})",
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert _soon(lambda: note.is_file() and note.read_text())
    pid = int(note.read_text())
    parent.send_signal(signal.SIGTERM)
    parent.wait()
    assert _soon(lambda: not _runs(pid))


def _soon(done):
    for _ in range(1000):
        if done():
            return True
        time.sleep(0.02)
    return False


def _runs(pid: int) -> bool:
    try:
        # A zombie has ended; who collects it depends on the machine.
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.usefixtures("_in_this_process")
def test_what_a_killed_conversion_left_is_removed_by_the_next(tmp_path):
    path = write_d4rl(tmp_path / "a.hdf5")
    place = tmp_path / "a.hdf5.embodied"
    left = place / f".{16 * 'a'}.abc_1234"
    left.mkdir(parents=True)
    (left / "observation.npy").write_bytes(b"part")
    (place / ".mine").mkdir()
    dataset = open_dataset(path)
    assert sorted(place.iterdir()) == [place / ".mine", dataset.folder]


@pytest.mark.usefixtures("_in_this_process")
@pytest.mark.parametrize("which", ["", "{digest}", "{digest}/labels", "{digest}/action.npy"])
def test_links_in_a_cache_are_refused(tmp_path, which):
    path = write_d4rl(tmp_path / "a.hdf5")
    folder = open_dataset(path).folder
    (folder / "labels").mkdir()
    item = folder.parent / which.format(digest=folder.name)
    shutil.move(item, tmp_path / "elsewhere")
    item.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="is a link"):
        open_dataset(path)


@pytest.mark.usefixtures("_in_this_process")
def test_videos_come_from_the_source_of_a_cache_alone(tmp_path):
    path = copy_lerobot_v30(tmp_path / "v30")
    folder = open_dataset(path).folder
    assert open_dataset(folder).has("state.front")  # the cache itself may be named
    shutil.copytree(path, tmp_path / "other")
    description = json.loads((folder / "dataset.json").read_text())
    for root in ("../../other", str(tmp_path / "other"), "../..", "/"):
        description["columns"]["state.front"]["video"]["root"] = root
        (folder / "dataset.json").write_text(json.dumps(description))
        for opened in (path, folder):
            with pytest.raises(UserError, match="is no cache of"):
                open_dataset(opened)


@pytest.mark.usefixtures("_in_this_process")
def test_labels_of_an_earlier_source_are_named(tmp_path, capsys):
    path = write_d4rl(tmp_path / "a.hdf5")
    first = open_dataset(path)
    write_labels(first, "default", Constant())
    path.unlink()
    open_dataset(write_d4rl(path, ends="...T"))
    assert f"labels made before stay in {first.folder}" in capsys.readouterr().err


def test_a_file_of_which_nothing_is_left_is_told(tmp_path):
    path = write_d4rl(tmp_path / "a.hdf5", ends="OOO")
    with pytest.raises(UserError, match="no transitions are left"):
        read(path, tmp_path / "native")


@pytest.mark.parametrize("name", ["observations", "actions"])
def test_vectors_of_size_zero_are_refused(tmp_path, name):
    path = write_d4rl(tmp_path / "a.hdf5", ends="..T", **{name: np.zeros((3, 0))})
    with pytest.raises(UserError, match="of size 0"):
        read(path, tmp_path / "native")


@pytest.mark.parametrize("rate", [np.inf, np.nan, 10**400])
def test_a_description_with_a_number_that_is_none_is_refused(tmp_path, rate):
    dataset = read(write_d4rl(tmp_path / "a.hdf5"), tmp_path / "native")
    with pytest.raises(UserError, match="malformed"):
        info_from_json({**info_to_json(dataset.info), "control_hz": rate})


@pytest.mark.parametrize("name", ["a\0b", "a" * 5000, "a/" * 5000])
def test_a_path_that_no_file_can_have_is_refused(tmp_path, name):
    with pytest.raises(UserError, match="names no file"):
        inside(tmp_path, name)
    path = write_lerobot_v21(tmp_path / "a")
    change_json(path / "meta" / "info.json", data_path=name)
    with pytest.raises(UserError, match="names no file"):
        read(path, tmp_path / "native")


def test_whatever_a_reader_raises_is_one_line_without_a_traceback(tmp_path, monkeypatch, capfd):
    path = write_d4rl(tmp_path / "a.hdf5")
    monkeypatch.setattr(
        converting,
        "_CHILD",
        "import json, sys; given = json.load(sys.stdin); sys.path[:] = given.pop('path'); "
        "from embodied.formats import convert as converting; "
        "converting.convert = lambda *_: {}['x']; converting._child(**given)",
    )
    with pytest.raises(UserError, match=r"damaged or not supported \(KeyError: 'x'") as caught:
        open_dataset(path)
    assert "GiB" not in str(caught.value)
    assert "Traceback" not in capfd.readouterr().err
