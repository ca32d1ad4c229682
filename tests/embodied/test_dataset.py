from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodied.dataset import Dataset, Episode
from embodied.dataset_json import DatasetInfo
from embodied.dataset_writer import write_dataset
from embodied.errors import UserError
from embodied.formats import open_datasets
from embodied.types import Field

INFO = DatasetInfo(
    environment="toy",
    action=Field((2,), "rad", "Change of the joint targets.", low=(-1.0, -1.0), high=(1.0, 1.0)),
    fields={"position": Field((3,), "m", "Where it is.", "world")},
    control_hz=10.0,
    origin={"seed": 3},
)

INFO_1 = replace(INFO, action=Field((1,), "rad", "Change of the joint target."))


def make_episode(length: int, number: int, terminated: bool = False, size: int = 4) -> Episode:
    """Every value tells its episode and its time: ``1000 * episode + t``."""
    row = 1000.0 * number + np.arange(length + 1)
    return Episode(
        observation=np.repeat(row[:, None], size, axis=1),
        action=np.repeat(row[:-1, None], 2, axis=1),
        terminated=terminated,
        state={"position": np.repeat(row[:, None], 3, axis=1)},
        columns={"success": np.arange(length) == length - 1, "phase": np.arange(length)},
    )


def write(folder: Path, lengths: list[int], **options) -> Path:
    write_episodes(
        folder,
        *(
            make_episode(length, number, terminated=number % 2 == 1, **options)
            for number, length in enumerate(lengths)
        ),
    )
    return folder


def write_episodes(folder: Path, *episodes: Episode) -> None:
    with write_dataset(folder, INFO) as writer:
        for episode in episodes:
            writer.add(episode)


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "data", [3, 1, 5])


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@settings(max_examples=30, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    size=st.integers(1, 5),
)
def test_what_is_written_is_read_and_no_transition_crosses_an_episode(
    lengths, size, tmp_path_factory
):
    folder = write(tmp_path_factory.mktemp("round") / "data", lengths, size=size)
    dataset = Dataset(folder)
    assert dataset.episode_lengths.tolist() == lengths
    assert len(dataset) == sum(lengths)
    assert dataset.column("observation").shape == (sum(lengths) + len(lengths), size)
    for number, length in enumerate(lengths):
        wrote, read = make_episode(length, number, size=size), dataset.episode(number)
        np.testing.assert_array_equal(read.observation, wrote.observation)
        np.testing.assert_array_equal(read.action, wrote.action)
        np.testing.assert_array_equal(read.state["position"], wrote.state["position"])
        np.testing.assert_array_equal(read.columns["phase"], wrote.columns["phase"])
        assert read.terminated == (number % 2 == 1)
    batch = dataset.transitions(slice(None))
    # The next row of the same episode is one larger; that of another is hundreds away.
    np.testing.assert_array_equal(batch.next_observation - batch.observation, 1.0)
    np.testing.assert_array_equal(batch.next_state["position"] - batch.state["position"], 1.0)
    np.testing.assert_array_equal(batch.action[:, 0], batch.observation[:, 0])
    last = np.cumsum(lengths) - 1
    ends = np.zeros(len(dataset), bool)
    ends[last] = True
    np.testing.assert_array_equal(batch.terminated | batch.truncated, ends)
    np.testing.assert_array_equal(batch.terminated[last], np.arange(len(lengths)) % 2 == 1)
    assert not (batch.terminated & batch.truncated).any()
    np.testing.assert_array_equal(batch.columns["success"], ends)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_index_gives_the_same_transitions_as_the_whole(data, tmp_path_factory):
    lengths = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=5))
    dataset = Dataset(write(tmp_path_factory.mktemp("index") / "data", lengths))
    index = np.array(
        data.draw(st.lists(st.integers(0, len(dataset) - 1), min_size=1)), dtype=np.int64
    )
    part, whole = dataset.transitions(index), dataset.transitions(slice(None))
    np.testing.assert_array_equal(part.next_observation, whole.next_observation[index])
    np.testing.assert_array_equal(part.columns["phase"], whole.columns["phase"][index])
    np.testing.assert_array_equal(part.state["position"], whole.state["position"][index])


@settings(max_examples=20, deadline=None)
@given(length=st.integers(1, 40), size=st.integers(1, 50))
def test_chunks_cover_every_transition_once(length, size, tmp_path_factory):
    dataset = Dataset(write(tmp_path_factory.mktemp("chunks") / "data", [length]))
    chunks = list(dataset.chunks(size))
    covered = np.concatenate([np.arange(length)[chunk] for chunk in chunks])
    np.testing.assert_array_equal(covered, np.arange(length))
    assert max(chunk.stop - chunk.start for chunk in chunks) <= size


def test_the_description_comes_back(folder):
    assert Dataset(folder).info == INFO


def test_columns_are_memory_mapped_and_read_only(folder):
    column = Dataset(folder).column("observation")
    assert isinstance(column, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        column[0] = 1.0


def test_equal_data_has_an_equal_digest_and_other_data_another(tmp_path):
    first = Dataset(write(tmp_path / "a", [3, 2])).digest
    assert Dataset(write(tmp_path / "b", [3, 2])).digest == first
    assert Dataset(write(tmp_path / "c", [2, 3])).digest != first


def test_the_true_reward_is_success_or_the_environments_own(tmp_path, folder):
    np.testing.assert_array_equal(Dataset(folder).true_reward(), [0, 0, 1, 1, 0, 0, 0, 0, 1])
    episode = make_episode(2, 0)
    own = Episode(episode.observation, episode.action, False, {}, {"environment_reward": [0.5, 2]})
    with write_dataset(tmp_path / "own", INFO) as writer:
        writer.add(own)
    np.testing.assert_array_equal(Dataset(tmp_path / "own").true_reward(), [0.5, 2.0])
    with write_dataset(tmp_path / "none", INFO) as writer:
        writer.add(Episode(episode.observation, episode.action, False))
    assert Dataset(tmp_path / "none").true_reward() is None


def test_the_last_entry_of_every_episode(folder):
    np.testing.assert_array_equal(Dataset(folder).episode_ends("column.phase"), [2, 0, 4])


def test_a_column_that_is_not_there_is_named(folder):
    with pytest.raises(UserError, match=r"no column 'weight'; it has action, column\.phase"):
        Dataset(folder).column("weight")


# ---- writing -------------------------------------------------------------------------------------


def test_an_exception_while_writing_leaves_nothing(tmp_path):
    def fail():
        with write_dataset(tmp_path / "data", INFO) as writer:
            writer.add(make_episode(3, 0))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert os.listdir(tmp_path) == []


def test_an_existing_folder_stays_as_it_is(folder):
    before = contents(folder)
    with pytest.raises(UserError, match="exists already"):
        write(folder, [1])
    assert contents(folder) == before


def test_a_folder_that_appears_while_writing_is_not_replaced(tmp_path):
    def write_twice(place):
        with write_dataset(place, INFO) as writer:
            writer.add(make_episode(2, 0))
            write(place, [4])

    with pytest.raises(UserError, match="exists already"):
        write_twice(tmp_path / "data")
    assert len(Dataset(tmp_path / "data")) == 4
    assert os.listdir(tmp_path) == ["data"]


def test_a_dataset_without_episodes_is_not_written(tmp_path):
    with pytest.raises(UserError, match="at least one episode"):
        write_episodes(tmp_path / "data")
    assert os.listdir(tmp_path) == []


def replaced(**changes) -> Episode:
    return Episode(**{**vars(make_episode(3, 1)), **changes})


MISFITS = {
    "rows": replaced(observation=np.zeros((3, 4))),  # T rows instead of T+1
    "observation": replaced(observation=np.zeros((4, 5))),
    "action": replaced(action=np.zeros((3, 1))),
    "state rows": replaced(state={"position": np.zeros((3, 3))}),
    "no state": replaced(state={}),
    "more state": replaced(state={"position": np.zeros((4, 3)), "other": np.zeros((4, 3))}),
    "fewer columns": replaced(columns={"success": np.zeros(3, bool)}),
    "length": replaced(columns={"success": np.zeros(4, bool), "phase": np.arange(3)}),
    "number": replaced(columns={"success": np.zeros(3, bool), "phase": np.array(7)}),
    "type": replaced(columns={"success": np.zeros(3, bool), "phase": np.full(3, 0.5)}),
    "empty": replaced(
        observation=np.zeros((1, 4)),
        action=np.zeros((0, 2)),
        state={"position": np.zeros((1, 3))},
        columns={"success": np.zeros(0, bool), "phase": np.arange(0)},
    ),
}


@pytest.mark.parametrize("case", MISFITS)
def test_an_episode_that_does_not_fit_is_refused_and_nothing_is_left(tmp_path, case):
    with pytest.raises(UserError):
        write_episodes(tmp_path / "data", make_episode(3, 0), MISFITS[case])
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["../escape", "a/b", "", "a\nb"])
def test_a_column_name_that_is_no_file_name_is_refused(tmp_path, name):
    with pytest.raises(UserError, match="column"):
        write_episodes(tmp_path / "data", replaced(columns={name: np.zeros(3)}))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("values", [np.array([{}, [], 1], object), np.array(["a", "b", "c"])])
def test_a_column_of_objects_or_text_is_refused(tmp_path, values):
    with pytest.raises(UserError, match="number"):
        write_episodes(tmp_path / "data", replaced(columns={"thing": values}))
    assert os.listdir(tmp_path) == []


def test_datasets_of_other_sizes_are_not_used_together(tmp_path, folder):
    wide = write(tmp_path / "wide", [3], size=6)
    with pytest.raises(UserError, match="wide has observation size 6"):
        open_datasets([folder, wide])
    with pytest.raises(UserError, match="no dataset named"):
        open_datasets([])


def test_a_copy_keeps_types_and_a_new_dataset_has_float32_and_images(tmp_path):
    episode = Episode(
        observation=np.full((3, 2), 1 / 3),
        action=np.full((2, 1), 1 / 3),
        terminated=True,
        state={"count": np.arange(3), "image": np.ones((3, 4, 4, 3), np.uint8)},
    )
    for name, keep, expected in (
        ("new", False, ("<f4", "<f4", "<f4", "|u1")),
        ("copy", True, ("<f8", "<f8", "<i8", "|u1")),
    ):
        with write_dataset(tmp_path / name, INFO_1, keep_dtypes=keep) as writer:
            writer.add(episode)
        dataset = Dataset(tmp_path / name)
        stored = ("observation", "action", "state.count", "state.image")
        assert tuple(dataset.column(item).dtype.str for item in stored) == expected
        batch = dataset.transitions(slice(0, 2))
        assert batch.observation.dtype == batch.action.dtype == np.float32
        assert batch.next_state["image"].dtype == np.uint8
