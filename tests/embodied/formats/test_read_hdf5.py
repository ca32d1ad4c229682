from __future__ import annotations

import h5py
import numpy as np
import pytest

from embodied.errors import UserError
from tests.embodied.formats.foreign import read, write_d4rl, write_robomimic


def test_d4rl_is_cut_at_terminals_timeouts_and_the_end_of_the_file(tmp_path):
    dataset = read(write_d4rl(tmp_path / "a.hdf5", "..T..O..."), tmp_path / "native")
    # Three steps to a terminal state; of the others the last action leads nowhere known.
    assert dataset.episode_lengths.tolist() == [3, 2, 2]
    assert dataset.episode_ends("terminated").tolist() == [True, False, False]
    assert dataset.episode_ends("truncated").tolist() == [False, True, True]
    assert np.asarray(dataset.column("observation"))[:, 0].tolist() == [
        *(0, 2, 4, 4),
        *(6, 8, 10),
        *(12, 14, 16),
    ]
    assert dataset.column("observation").dtype == np.float64
    reward = dataset.column("column.environment_reward")
    assert np.asarray(reward).tolist() == [i / 3 for i in (0, 1, 2, 3, 4, 6, 7)]
    assert np.asarray(dataset.column("column.infos.goal"))[:, 0].tolist() == [0, 1, 2, 3, 4, 6, 7]
    origin = dataset.info.origin
    told = {key: origin[key] for key in ("terminated", "truncated", "cut", "stand_in")}
    assert told == {"terminated": 1, "truncated": 1, "cut": 1, "stand_in": 1}
    assert origin["dropped_last"] == 2
    batch = dataset.transitions(slice(0, 7))
    assert batch.observation.dtype == batch.action.dtype == np.float32


def test_recorded_next_observations_lose_no_action(tmp_path):
    count = 7
    after = np.arange(2.0 * count).reshape(count, 2) + 2
    after[4] += 100  # what followed row 4 is not row 5: an episode that was cut
    path = write_d4rl(tmp_path / "a.hdf5", "..T....", timeouts=None, next_observations=after)
    dataset = read(path, tmp_path / "native")
    assert dataset.episode_lengths.tolist() == [3, 2, 2]
    batch = dataset.transitions(slice(0, count))
    np.testing.assert_array_equal(batch.next_observation, after.astype(np.float32))
    assert dataset.info.origin["stand_in"] == dataset.info.origin["dropped_last"] == 0
    assert dataset.info.origin["cut"] == 2


def test_a_d4rl_file_that_does_not_tell_timeouts_is_refused(tmp_path):
    with pytest.raises(UserError, match="neither timeouts nor next_observations"):
        read(write_d4rl(tmp_path / "a.hdf5", timeouts=None), tmp_path / "native")


@pytest.mark.parametrize("next_obs", [True, False])
def test_robomimic_demonstrations(tmp_path, next_obs):
    dataset = read(write_robomimic(tmp_path / "a.hdf5", next_obs=next_obs), tmp_path / "native")
    assert (dataset.info.environment, dataset.info.control_hz) == ("Lift", 20.0)
    assert (dataset.info.action.low, dataset.info.action.high) == ((-1.0, -1.0), (1.0, 1.0))
    # Both demonstrations end with `done`, the first one alone with a success.
    assert dataset.episode_lengths.tolist() == ([3, 2] if next_obs else [3, 1])
    assert dataset.episode_ends("terminated").tolist() == [True, False]
    rows = [0, 1, 2, 3, 100, 101, 102] if next_obs else [0, 1, 2, 2, 100, 101]
    observation = np.asarray(dataset.column("observation"))
    assert observation.tolist() == [[r, r, r, -r] for r in rows]
    images = dataset.column("state.agentview_image")
    assert (images.dtype, images.shape) == (np.uint8, (len(rows), 4, 6, 3))
    assert isinstance(images, np.memmap)  # read when used
    assert dataset.transitions(slice(0, 1)).next_state["agentview_image"].dtype == np.uint8


def test_demonstrations_come_in_the_order_of_their_numbers(tmp_path):
    path = write_robomimic(tmp_path / "a.hdf5", lengths=[1] * 11)
    dataset = read(path, tmp_path / "native")
    first = np.asarray(dataset.column("observation"))[::2, 0]
    assert first.tolist() == [100.0 * i for i in range(11)]


def pickled(file):
    file.create_dataset(
        "observations", data=[b"cos\nsystem\n(S'touch owned'\ntR."] * 7, dtype=h5py.string_dtype()
    )


def opaque(file):
    file["observations"] = np.zeros(7, np.void(b"1234").dtype)


def references(file):
    file["observations"] = np.array([file["actions"].ref] * 7, h5py.ref_dtype)


def soft_link(file):
    file["observations"] = h5py.SoftLink("/actions")


def external_link(file):
    file["observations"] = h5py.ExternalLink("/etc/passwd", "/observations")


def external_storage(file):
    file.create_dataset("observations", (7, 2), "u1", external=[("/etc/passwd", 0, 14)])


def virtual(file):
    layout = h5py.VirtualLayout((7, 2), "f8")
    layout[:] = h5py.VirtualSource("other.hdf5", "observations", (7, 2))
    file.create_virtual_dataset("observations", layout)


def bomb(file):
    file.create_dataset("observations", (7, 2**40), "f8", chunks=(1, 2**10), compression="gzip")


def large_chunks(file):
    file.create_dataset("observations", (7, 2), "f8", chunks=(2**26, 2), maxshape=(None, 2))


def scalar(file):
    file["observations"] = 3.0


def group(file):
    file.create_group("observations")


def short(file):
    file["observations"] = np.zeros((6, 2))


def flat(file):
    file["observations"] = np.zeros(7)


HOSTILE = [
    pickled,
    opaque,
    references,
    soft_link,
    external_link,
    external_storage,
    virtual,
    bomb,
    large_chunks,
    scalar,
    group,
    short,
    flat,
]


@pytest.mark.parametrize("make", HOSTILE, ids=lambda item: item.__name__)
def test_a_hostile_d4rl_file_gives_one_line_and_nothing_is_written(tmp_path, monkeypatch, make):
    monkeypatch.chdir(tmp_path)
    path = write_d4rl(tmp_path / "a.hdf5", observations=None)
    with h5py.File(path, "a") as file:
        make(file)
    with pytest.raises(UserError) as caught:
        read(path, tmp_path / "native")
    assert "\n" not in str(caught.value)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a.hdf5"]


def test_objects_beside_the_numbers_are_left_out_and_said(tmp_path):
    path = write_d4rl(tmp_path / "a.hdf5")
    with h5py.File(path, "a") as file:
        file["infos/note"] = "text"
    dataset = read(path, tmp_path / "native")
    assert dataset.info.origin["left_out"] == ["infos/note"]


@pytest.mark.parametrize("text", ["{", "[" * 50_000])
def test_environment_arguments_that_are_no_json_are_told(tmp_path, text):
    path = write_robomimic(tmp_path / "a.hdf5")
    with h5py.File(path, "a") as file:
        del file["data"].attrs["env_args"]
        file["data"].attrs["env_args"] = text
    with pytest.raises(UserError, match="env_args"):
        read(path, tmp_path / "native")


def test_d4rl_rewards_may_be_a_column(tmp_path):
    path = write_d4rl(tmp_path / "a.hdf5", "..T", rewards=np.arange(3.0)[:, None])
    reward = read(path, tmp_path / "native").column("column.environment_reward")
    assert np.asarray(reward).tolist() == [0, 1, 2]


def test_robomimic_s_flat_vector_and_a_field_called_observation_are_both_kept(tmp_path):
    path = write_robomimic(tmp_path / "a.hdf5", lengths=(2,), next_obs=False)
    with h5py.File(path, "a") as file:
        for number, name in enumerate(("flat", "observation")):
            file[f"data/demo_0/obs/{name}"] = np.full((2, 1), float(number))
    dataset = read(path, tmp_path / "native")
    assert not np.asarray(dataset.column("observation")).any()
    assert np.asarray(dataset.column("state.observation")).all()


def test_two_demonstrations_of_one_number_are_refused(tmp_path):
    path = write_robomimic(tmp_path / "a.hdf5")
    with h5py.File(path, "a") as file:
        file.copy("data/demo_0", "data/demo_00")
    with pytest.raises(UserError, match="demo_0 and demo_00"):
        read(path, tmp_path / "native")
