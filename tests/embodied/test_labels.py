from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embodied.dataset import Dataset, Episode
from embodied.dataset_json import DatasetInfo
from embodied.dataset_writer import write_dataset
from embodied.errors import UserError
from embodied.files import sha256_file
from embodied.labels import METADATA_KEY, label_path, read_labels, reward_folder, write_labels
from embodied.runs import RunFolder
from embodied.stages.export import keep_reward
from embodied.types import Field, Score

INFO = DatasetInfo("toy", Field((1,), "1", "Action.", low=(-1.0,), high=(1.0,)))


class NextPosition:
    """Scores ``s_{t+1}`` by its position; what it gives may be spoilt."""

    def __init__(self, spoil=lambda total: total, kind="toy") -> None:
        self.spoil, self.kind, self.seen = spoil, kind, []

    def score(self, batch):
        self.seen.append(len(batch))
        total = np.asarray(batch.next_state["position"][:, 0], np.float32)
        change = total - batch.state["position"][:, 0]
        return Score(self.spoil(total), {"position": total, "change": change})

    def provenance(self):
        return {"kind": self.kind, "instruction": "move on"}


@pytest.fixture
def dataset(tmp_path):
    """Two episodes whose position is 0, 1, 2, 3 and 100, 101, 102."""
    with write_dataset(tmp_path / "data", INFO) as writer:
        for rows in (np.arange(4.0), 100 + np.arange(3.0)):
            rows = rows[:, None]
            writer.add(Episode(rows, np.zeros((len(rows) - 1, 1)), False, {"position": rows}))
    return Dataset(tmp_path / "data")


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): sha256_file(path)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_label_belongs_to_the_state_after_the_action(dataset):
    write_labels(dataset, "default", NextPosition())
    values, metadata = read_labels(dataset, "default")
    assert values.dtype == np.float32
    assert values.tolist() == [1, 2, 3, 101, 102]
    table = pq.read_table(label_path(dataset, "default"))
    assert table.column("row").to_pylist() == [0, 1, 2, 3, 4]
    assert table.column("term.change").to_pylist() == [1, 1, 1, 1, 1]
    assert metadata["reward"] == {"kind": "toy", "instruction": "move on"}
    assert metadata["dataset"] == dataset.digest
    assert metadata["transitions"] == 5


def test_chunks_do_not_change_labels(dataset, monkeypatch):
    small = dataset.chunks
    monkeypatch.setattr(dataset, "chunks", lambda: small(2))
    reward, counts = NextPosition(), []
    write_labels(dataset, "default", reward, counts.append)
    assert reward.seen == counts == [2, 2, 1]
    assert read_labels(dataset, "default")[0].tolist() == [1, 2, 3, 101, 102]


def test_no_byte_of_the_dataset_changes(dataset):
    before = hashes(dataset.folder)
    write_labels(dataset, "one", NextPosition())
    write_labels(dataset, "two", NextPosition())
    after = hashes(dataset.folder)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {"labels/one.parquet", "labels/two.parquet"}
    assert Dataset(dataset.folder).digest == dataset.digest


def test_labelling_again_replaces_the_label(dataset):
    write_labels(dataset, "default", NextPosition())
    write_labels(dataset, "default", NextPosition(lambda total: -total, kind="other"))
    values, metadata = read_labels(dataset, "default")
    assert values.tolist() == [-1, -2, -3, -101, -102]
    assert metadata["reward"]["kind"] == "other"


def spoilt(value, at=3):
    def spoil(total):
        total = total.copy()
        total[at] = value
        return total

    return spoil


SPOILT = {
    "NaN": (spoilt(np.nan), "reward is NaN or infinite at transition 3"),
    "infinity": (spoilt(np.inf), "reward is NaN or infinite at transition 3"),
    "shape": (lambda total: total[:, None], r"reward has shape \[5, 1\] for 5 transitions"),
    "fewer": (lambda total: total[:4], r"reward has shape \[4\] for 5 transitions"),
    "number": (lambda total: np.float32(1), r"reward has shape \[\] for 5 transitions"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_a_spoilt_score_leaves_the_earlier_label_as_it_was(dataset, case):
    spoil, told = SPOILT[case]
    write_labels(dataset, "default", NextPosition())
    before = hashes(dataset.folder)
    with pytest.raises(UserError, match=told):
        write_labels(dataset, "default", NextPosition(spoil))
    assert hashes(dataset.folder) == before


def test_a_nan_in_a_term_is_told(dataset):
    class Term(NextPosition):
        def score(self, batch):
            bad = np.full(len(batch), np.nan, np.float32)
            return Score(np.zeros(len(batch), np.float32), {"bad": bad})

    with pytest.raises(UserError, match=r"term\.bad is NaN"):
        write_labels(dataset, "default", Term())
    assert not label_path(dataset, "default").exists()


@pytest.mark.parametrize("name", ["", "../a", "a b", "a/b", "x" * 65, "a.b", "ä"])
def test_a_label_name_that_is_no_plain_word_is_refused(dataset, name):
    with pytest.raises(UserError, match="label name"):
        label_path(dataset, name)


def test_a_label_that_is_not_there_names_those_that_are(dataset):
    with pytest.raises(UserError, match=r"has no label 'default' \(it has: none\)"):
        read_labels(dataset, "default")
    write_labels(dataset, "one", NextPosition())
    write_labels(dataset, "two", NextPosition())
    with pytest.raises(UserError, match=r"has no label 'default' \(it has: one, two\)"):
        read_labels(dataset, "default")


def test_labels_of_other_data_are_refused(dataset, tmp_path):
    write_labels(dataset, "default", NextPosition())
    with write_dataset(tmp_path / "other", INFO) as writer:
        rows = np.arange(6.0)[:, None]
        writer.add(Episode(rows, np.zeros((5, 1)), False, {"position": rows}))
    other = Dataset(tmp_path / "other")
    shutil.copytree(dataset.folder / "labels", other.folder / "labels")
    with pytest.raises(UserError, match="made for other data"):
        read_labels(other, "default")


def rewrite(dataset, change) -> None:
    """Write the label file again with another table, under the same metadata."""
    path = label_path(dataset, "default")
    table = pq.read_table(path)
    metadata = table.schema.metadata
    columns = {name: table.column(name).to_numpy().copy() for name in table.column_names}
    change(columns)
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path)


DAMAGES = {
    "NaN": (lambda c: c["reward"].__setitem__(2, np.nan), "hold NaN"),
    "infinity": (lambda c: c["reward"].__setitem__(2, np.inf), "hold NaN"),
    "order": (lambda c: c["row"].__setitem__(slice(None), c["row"][::-1].copy()), "incomplete"),
    "fewer": (lambda c: c.update({k: v[:3] for k, v in c.items()}), "incomplete"),
    "no reward": (lambda c: c.pop("reward"), "damaged"),
    "text": (lambda c: c.update(reward=np.array(["a"] * 5)), "damaged"),
    "rows are text": (lambda c: c.update(row=np.array(["a"] * 5)), "incomplete|damaged"),
    "null": (lambda c: c.update(reward=pa.array([1.0, None, 1.0, 1.0, 1.0])), "hold NaN"),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_an_edited_label_file_is_refused(dataset, case):
    change, told = DAMAGES[case]
    write_labels(dataset, "default", NextPosition())
    rewrite(dataset, change)
    with pytest.raises(UserError, match=told) as caught:
        read_labels(dataset, "default")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [0, 3, 200, -1])
def test_a_truncated_label_file_is_refused(dataset, kept):
    path = write_labels(dataset, "default", NextPosition())
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match="damaged"):
        read_labels(dataset, "default")


@pytest.mark.parametrize("metadata", [None, b"{", b"[]", b"{}", b'{"dataset": 1}', b"\xff"])
def test_a_label_file_without_our_metadata_is_refused(dataset, metadata):
    path = write_labels(dataset, "default", NextPosition())
    table = pq.read_table(path)
    entries = {} if metadata is None else {METADATA_KEY: metadata}
    pq.write_table(table.replace_schema_metadata(entries), path)
    with pytest.raises(UserError, match=r"damaged|other data"):
        read_labels(dataset, "default")


@pytest.mark.parametrize("provenance", ["absent", 3, ["kind"]])
def test_metadata_without_a_provenance_is_refused(dataset, provenance):
    path = write_labels(dataset, "default", NextPosition())
    table = pq.read_table(path)
    metadata = json.loads(table.schema.metadata[METADATA_KEY])
    metadata["reward"] = provenance
    if provenance == "absent":
        del metadata["reward"]
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: json.dumps(metadata)}), path)
    with pytest.raises(UserError, match="damaged"):
        read_labels(dataset, "default")


def test_training_refuses_the_code_of_another_reward(
    push_dataset, tmp_path, push_reward_file, monkeypatch
):
    shutil.copytree(push_dataset.folder, tmp_path / "data")
    monkeypatch.setenv("EMBODIED_RUNS", str(tmp_path / "runs"))
    run, dataset = RunFolder.create("train"), Dataset(tmp_path / "data")
    reward = read_labels(dataset, "default")[1]["reward"]
    code = reward_folder(dataset, "default") / "reward.py"
    keep_reward(run, dataset, "default", reward)
    assert (run.path / "reward" / "reward.py").read_bytes() == code.read_bytes()
    code.write_text(code.read_text(encoding="utf-8") + "\n# another reward\n", encoding="utf-8")
    with pytest.raises(UserError, match="label it again"):
        keep_reward(run, dataset, "default", reward)
