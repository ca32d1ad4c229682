from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

from embodied.errors import UserError
from tests.embodied.formats.foreign import change_json, read, write_minari


@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "parquet"])
@pytest.mark.parametrize("dictionary", [False, True])
def test_what_minari_wrote_is_read(tmp_path, data_format, dictionary):
    folder = write_minari(tmp_path / "toy", data_format, dictionary)
    dataset = read(folder, tmp_path / "native")
    assert dataset.episode_lengths.tolist() == [3, 2]
    observation = np.asarray(dataset.column("observation"))
    assert observation.dtype == np.float64
    assert observation.tolist() == [[t, -t] for t in (0.0, 1, 2, 3, 10, 11, 12)]
    assert dataset.episode_ends("terminated").tolist() == [True, False]
    reward = np.asarray(dataset.column("column.environment_reward"))
    assert reward.tolist() == [0, 1 / 7, 2 / 7, 0, 1 / 7]
    # The first entry of Minari's infos belongs to the reset.
    assert np.asarray(dataset.column("column.qpos")).tolist() == [1, 2, 3, 1, 2]
    assert (dataset.info.action.low, dataset.info.action.high) == ((-2.0,), (2.0,))
    origin = dataset.info.origin
    assert (origin["terminated"], origin["truncated"], origin["cut"]) == (1, 1, 0)
    assert (origin["stand_in"], origin["dropped_last"]) == (0, 0)
    if dictionary:
        camera = dataset.column("state.camera")
        assert (camera.dtype, camera.shape) == (np.uint8, (7, 32, 40, 3))
        assert np.asarray(camera)[:, 0, 0, 0].tolist() == [0] * 4 + [50] * 3
        assert sorted(dataset.info.fields) == ["camera", "position"]


def test_a_cut_episode_is_bootstrapped_and_said(tmp_path):
    folder = write_minari(tmp_path / "toy")
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        file["episode_1/truncations"][...] = False
    dataset = read(folder, tmp_path / "native")
    assert dataset.episode_ends("truncated").tolist() == [False, True]
    assert dataset.info.origin["cut"] == 1


def test_the_environment_is_named_but_never_made(tmp_path):
    folder = write_minari(tmp_path / "toy")
    spec = {"id": "Toy-v5", "entry_point": "os:system", "kwargs": {"command": "touch owned"}}
    change_json(folder / "data" / "metadata.json", env_spec=json.dumps(spec))
    assert read(folder, tmp_path / "native").info.environment == "Toy-v5"
    # Without a space Minari would make the environment that the file names.
    change_json(folder / "data" / "metadata.json", action_space=None)
    with pytest.raises(UserError, match="action_space"):
        read(folder, tmp_path / "other")


def loop(folder):
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        file["episode_1/infos/loop"] = file["episode_1"]


def soft_link(folder):
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        del file["episode_1/rewards"]
        file["episode_1/rewards"] = h5py.ExternalLink("/etc/passwd", "/x")


def references(folder):
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        file["episode_1/infos/what"] = np.array([file.ref] * 3, h5py.ref_dtype)


def bomb(folder):
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        file.create_dataset("episode_1/infos/big", (3, 2**33), "f4", chunks=(1, 2**10))


def wrong_length(folder):
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        del file["episode_1/rewards"]
        file["episode_1/rewards"] = np.zeros(9)


def missing_episode(folder):
    change_json(folder / "data" / "metadata.json", total_episodes=2**40)


def no_episodes(folder):
    change_json(folder / "data" / "metadata.json", total_episodes=0)


def discrete(folder):
    change_json(
        folder / "data" / "metadata.json",
        action_space=json.dumps({"type": "Discrete", "dtype": "int64", "start": 0, "n": 2}),
    )
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        for number in (0, 1):
            del file[f"episode_{number}/actions"]
            file[f"episode_{number}/actions"] = np.zeros(3 - number, np.int64)


def unknown_space(folder):
    change_json(folder / "data" / "metadata.json", observation_space='{"type": "__import__"}')


def space_is_no_text(folder):
    change_json(folder / "data" / "metadata.json", observation_space={"type": "Box"})


def unknown_format(folder):
    change_json(folder / "data" / "metadata.json", data_format="pickle")


def deep_json(folder):
    (folder / "data" / "metadata.json").write_text('{"a":' * 100_000)


HOSTILE = [
    loop,
    soft_link,
    references,
    bomb,
    wrong_length,
    missing_episode,
    no_episodes,
    discrete,
    unknown_space,
    space_is_no_text,
    unknown_format,
    deep_json,
]


@pytest.mark.parametrize("make", HOSTILE, ids=lambda item: item.__name__)
def test_a_hostile_dataset_gives_one_line(tmp_path, make):
    folder = write_minari(tmp_path / "toy")
    make(folder)
    with pytest.raises(UserError) as caught:
        read(folder, tmp_path / "native")
    assert "\n" not in str(caught.value)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["toy"]


def test_rows_that_minari_would_not_read_are_an_error(tmp_path):
    import pyarrow as pa
    import pyarrow.dataset

    folder = write_minari(tmp_path / "toy", "arrow")
    (file,) = (folder / "data" / "0").glob("*.arrow")
    (batch,) = pa.dataset.dataset(file, format="arrow").to_batches()
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch.slice(0, 2))
        writer.write_batch(batch.slice(2))
    with pytest.raises(UserError, match="2 batches"):
        read(folder, tmp_path / "native")


@pytest.mark.parametrize("name", ["environment_reward", "success"])
def test_an_info_does_not_replace_the_reward(tmp_path, name):
    folder = write_minari(tmp_path / "toy")
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        for index, rows in enumerate((4, 3)):
            file[f"episode_{index}/infos/{name}"] = np.full(rows, 9.0)
    dataset = read(folder, tmp_path / "native")
    assert np.asarray(dataset.true_reward()).tolist() == [0, 1 / 7, 2 / 7, 0, 1 / 7]
    assert np.asarray(dataset.column(f"column.infos.{name}")).tolist() == [9.0] * 5


def test_terminations_must_fit_the_actions(tmp_path):
    folder = write_minari(tmp_path / "toy")
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        del file["episode_0/terminations"]
        file["episode_0/terminations"] = np.zeros(2, bool)
    with pytest.raises(UserError, match="2 terminal flags for 3 actions"):
        read(folder, tmp_path / "native")
