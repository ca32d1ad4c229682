"""Whatever is wrong with a dataset is told in one line, and nothing of it is ever run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodied.dataset import Dataset, Episode
from embodied.dataset_json import DatasetInfo
from embodied.dataset_writer import write_dataset
from embodied.errors import UserError
from embodied.types import Field

INFO = DatasetInfo("toy", Field((2,), "rad", "Action.", low=(-1.0, -1.0), high=(1.0, 1.0)))


def write(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    with write_dataset(folder, INFO) as writer:
        for length in (3, 1, 5):
            rows = rng.normal(size=(length + 1, 4))
            state = {"position": rows[:, :3]}
            writer.add(Episode(rows, rng.normal(size=(length, 2)), False, state))
    return folder


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "data")


def edit(folder: Path, change) -> None:
    path = folder / "dataset.json"
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def info(**changes):
    return lambda value: value["info"].update(changes)


def action_column(**changes):
    return lambda value: value["columns"]["action"].update(changes)


DAMAGES = {
    "version": lambda value: value.update(schema_version=99),
    "no info": lambda value: value.pop("info"),
    "info is a list": lambda value: value.update(info=[1]),
    "no action": lambda value: value["info"].pop("action"),
    "control rate": info(control_hz="fast"),
    "fields no table": info(fields=[1]),
    "other action shape": lambda value: value["info"]["action"].update(shape=[3]),
    "bounds are text": lambda value: value["info"]["action"].update(low="ab"),
    "other total": lambda value: value.update(episode_lengths=[3, 1, 4]),
    "negative length": lambda value: value.update(episode_lengths=[3, -1, 7]),
    "zero length": lambda value: value.update(episode_lengths=[3, 0, 6]),
    "no episodes": lambda value: value.update(episode_lengths=[]),
    "text length": lambda value: value.update(episode_lengths=["a"]),
    "nested lengths": lambda value: value.update(episode_lengths=[[3, 1, 5]]),
    "fractional length": lambda value: value.update(episode_lengths=[3, 1.5, 4.5]),
    "huge length": lambda value: value.update(episode_lengths=[2**70]),
    "lengths no list": lambda value: value.update(episode_lengths={"a": 1}),
    "columns no table": lambda value: value.update(columns=[1]),
    "column no table": lambda value: value["columns"].update(action=3),
    "no per": lambda value: value["columns"]["action"].pop("per"),
    "no shape": lambda value: value["columns"]["action"].pop("shape"),
    "shape": action_column(shape=[3]),
    "shape of text": action_column(shape=["a"]),
    "dtype": action_column(dtype="<f8"),
    "per": action_column(per="row"),
    "unknown per": action_column(per="year"),
    "lacks action": lambda value: value["columns"].pop("action"),
    "lacks observation": lambda value: value["columns"].pop("observation"),
    "outside": lambda value: value["columns"].update(
        {"../data/action": value["columns"]["action"]}
    ),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_description_is_told_in_one_line(folder, case):
    edit(folder, DAMAGES[case])
    with pytest.raises(UserError) as caught:
        Dataset(folder)
    assert "\n" not in str(caught.value)


def test_a_missing_folder_and_a_folder_without_a_dataset_are_told(tmp_path):
    with pytest.raises(UserError, match="not a dataset folder"):
        Dataset(tmp_path / "absent")
    with pytest.raises(UserError, match="not a dataset folder"):
        Dataset(tmp_path)


@pytest.mark.parametrize("name", ["observation", "action", "terminated", "state.position"])
def test_a_missing_or_truncated_column_is_told(folder, name):
    path = folder / f"{name}.npy"
    content = path.read_bytes()
    for kept in (0, 5, 100, len(content) - 1):
        path.write_bytes(content[:kept])
        with pytest.raises(UserError, match=rf"{name}\.npy is missing or truncated"):
            Dataset(folder)
    path.unlink()
    with pytest.raises(UserError, match=rf"{name}\.npy is missing or truncated"):
        Dataset(folder)


def test_another_shape_or_type_than_described_is_told(folder):
    action = np.load(folder / "action.npy")
    for other in (action.astype(np.float64), action[:-1], action[:, :1], action.astype(">f4")):
        np.save(folder / "action.npy", other)
        with pytest.raises(UserError, match=r"where dataset\.json says"):
            Dataset(folder)


class Payload:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def test_a_pickled_column_is_refused_and_never_run(folder, tmp_path):
    mark = tmp_path / "mark"
    values = np.empty((9, 2), object)
    values[:] = Payload(mark)
    np.save(folder / "action.npy", values, allow_pickle=True)
    edit(folder, action_column(dtype="|O"))
    with pytest.raises(UserError, match=r"action\.npy"):
        Dataset(folder)
    assert not mark.exists()
    np.load(folder / "action.npy", allow_pickle=True)
    assert mark.exists(), "the payload would have worked"


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A dataset whose action column is overwritten again and again."""
    return write(tmp_path_factory.mktemp("shared") / "data")


@pytest.mark.filterwarnings("ignore")  # Python's, about the damaged text of a header
@settings(max_examples=150, deadline=None)
@given(position=st.integers(0, 127), patch=st.binary(min_size=1, max_size=12))
def test_damaged_header_bytes_give_the_data_or_a_user_error(position, patch, shared):
    path = shared / "action.npy"
    content = path.read_bytes()
    # Replaced, not written in place: an open map of a file that shrinks would end the process.
    path.unlink()
    path.write_bytes(content[:position] + patch + content[position + len(patch) :])
    try:
        assert Dataset(shared).column("action").shape == (9, 2)
    except UserError:
        pass  # told in one line, which other tests look at
    finally:
        path.unlink()
        path.write_bytes(content)


@settings(max_examples=150, deadline=None)
@given(content=st.binary(max_size=200))
def test_any_bytes_as_a_column_give_a_user_error(content, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / "any-column"
    if not folder.exists():
        write(folder)
    (folder / "action.npy").write_bytes(content)
    with pytest.raises(UserError):
        Dataset(folder)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("name", "row"), [("observation", 7), ("action", 4)])
def test_a_value_that_is_not_finite_is_found_where_it_is(folder, name, row, value):
    Dataset(folder).check_finite()
    column = np.load(folder / f"{name}.npy", mmap_mode="r+")
    column[row, 1] = value
    column.flush()
    with pytest.raises(UserError, match=f"{name} has NaN or infinity at row {row}"):
        Dataset(folder).check_finite()
