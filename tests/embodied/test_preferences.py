"""The file of labelled pairs: what is written is read, and what cannot be right is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import fields

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embodied.dataset import Dataset, Episode
from embodied.dataset_json import DatasetInfo
from embodied.dataset_writer import write_dataset
from embodied.errors import UserError
from embodied.files import sha256_file
from embodied.labels import METADATA_KEY, read_labels
from embodied.preferences import PreferencePairs, pairs_path, read_pairs, write_pairs
from embodied.types import Field

INFO = DatasetInfo("toy", Field((1,), "1", "Action.", low=(-1.0,), high=(1.0,)))
LENGTHS = (4, 7, 3)  # so that the episodes begin at 0, 4 and 11
TOLD = {"kind": "person", "instruction": "move on"}


def make_dataset(folder, lengths=LENGTHS):
    with write_dataset(folder, INFO) as writer:
        for length in lengths:
            writer.add(Episode(np.zeros((length + 1, 2)), np.zeros((length, 1)), False))
    return Dataset(folder)


@pytest.fixture(scope="module", name="shared")
def _shared(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("pairs") / "data")


@pytest.fixture(name="dataset")
def _dataset(tmp_path):
    return make_dataset(tmp_path / "data")


def pairs_of(first=(0, 4), second=(11, 8), length=(3, 2), preference=(1.0, 0.5)):
    columns = (np.array(item, np.int64) for item in (first, second, length))
    return PreferencePairs(*columns, np.array(preference, np.float32))


def same(one, two):
    pairs = [(getattr(one, f.name), getattr(two, f.name)) for f in fields(PreferencePairs)]
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)


def test_what_is_written_is_read(dataset):
    before = {path: sha256_file(path) for path in dataset.folder.rglob("*") if path.is_file()}
    path = write_pairs(dataset, "human", pairs_of(), TOLD)
    assert path == dataset.folder / "labels" / "human.pairs.parquet"
    found, metadata = read_pairs(dataset, "human")
    assert same(found, pairs_of())
    assert metadata["preferences"] == TOLD
    assert metadata["dataset"] == dataset.digest
    assert metadata["pairs"] == len(found) == 2
    assert {item: sha256_file(item) for item in before} == before
    table = pq.read_table(path)
    assert {name: str(table.schema.field(name).type) for name in table.column_names} == {
        **{"first": "int64", "second": "int64", "length": "int64"},
        "preference": "float",
    }


def test_writing_again_replaces_the_pairs(dataset):
    write_pairs(dataset, "human", pairs_of(), TOLD)
    other = pairs_of([1], [2], [1], [0.0])
    write_pairs(dataset, "human", other, {"kind": "model"})
    found, metadata = read_pairs(dataset, "human")
    assert same(found, other)
    assert metadata["preferences"] == {"kind": "model"}


def test_pairs_and_reward_labels_of_one_name_do_not_touch(dataset):
    write_pairs(dataset, "human", pairs_of(), TOLD)
    with pytest.raises(UserError, match="has no label 'human'"):
        read_labels(dataset, "human")


@st.composite
def sound_pairs(draw):
    """Any pairs that fit the episodes of ``LENGTHS``."""
    starts, rows = np.cumsum((0, *LENGTHS[:-1])), []
    for _ in range(draw(st.integers(1, 8))):
        episodes = [draw(st.integers(0, len(LENGTHS) - 1)) for _ in range(2)]
        length = draw(st.integers(1, min(LENGTHS[e] for e in episodes)))
        sides = [starts[e] + draw(st.integers(0, LENGTHS[e] - length)) for e in episodes]
        rows.append((*sides, length, draw(st.floats(0, 1, width=32))))
    return pairs_of(*zip(*rows, strict=True))


@given(pairs=sound_pairs())
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_any_sound_pairs_come_back_as_they_are(shared, pairs):
    write_pairs(shared, "any", pairs, TOLD)
    assert same(read_pairs(shared, "any")[0], pairs)


@given(first=st.integers(-2, 16), second=st.integers(-2, 16), length=st.integers(-1, 8))
@settings(max_examples=200, deadline=None)
def test_pairs_are_refused_exactly_where_a_segment_leaves_its_episode(first, second, length):
    episode = np.repeat(np.arange(len(LENGTHS)), LENGTHS)
    fits = length >= 1 and all(
        start >= 0
        and start + length <= len(episode)
        and len(set(episode[start : start + length])) == 1
        for start in (first, second)
    )
    try:
        pairs_of([first], [second], [length], [1.0]).check(np.array(LENGTHS))
        assert fits
    except UserError:
        assert not fits


def test_the_preferred_segments_transitions(dataset):
    pairs = pairs_of([0, 4, 0, 5], [11, 8, 8, 1], [3, 2, 2, 1], [1.0, 0.5, 0.2, 0.7])
    assert pairs.preferred().tolist() == [0, 1, 2, 8, 9, 5]
    assert pairs_of().preferred().dtype == np.int64
    assert pairs_of(preference=(0.5, 0.5)).preferred().tolist() == []


IMPOSSIBLE = {
    "preference above 1": ({"preference": (1.0, 1.1)}, "pair 1 has a preference"),
    "preference below 0": ({"preference": (-0.1, 1.0)}, "pair 0 has a preference"),
    "NaN": ({"preference": (1.0, np.nan)}, "pair 1 has a preference"),
    "no length": ({"length": (3, 0)}, "pair 1 has segments of no transitions"),
    "before the data": ({"second": (-1, 8)}, "pair 0 has a segment that begins before"),
    "none": ({"first": (), "second": (), "length": (), "preference": ()}, "there are no pairs"),
    "fewer": ({"second": (1,)}, r"second is int64\[1\]; it must be int64\[2\]"),
    "deeper": ({"length": ((3,), (2,))}, r"length is int64\[2, 1\]; it must be int64\[2\]"),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_pairs_that_cannot_be_are_refused(case):
    changes, told = IMPOSSIBLE[case]
    with pytest.raises(UserError, match=told) as caught:
        pairs_of(**changes)
    assert "\n" not in str(caught.value)


def test_a_column_of_another_type_is_refused():
    with pytest.raises(UserError, match=r"preference is float64\[1\]; it must be float32\[1\]"):
        PreferencePairs(*np.ones((3, 1), np.int64), np.ones(1))


OUTSIDE = {
    "first crosses": ({"first": (0, 10)}, "pair 1 has a segment that crosses an episode's end"),
    "second crosses": ({"second": (12, 8)}, "pair 0 has a segment that crosses"),
    "outside": ({"second": (14, 8)}, "pair 0 has a segment outside the 14 transitions"),
    "overflow": ({"length": (3, 2**63 - 1)}, "pair 1 has a segment that crosses"),
}


@pytest.mark.parametrize("case", OUTSIDE)
def test_pairs_that_do_not_fit_the_data_leave_the_earlier_file_as_it_was(dataset, case):
    changes, told = OUTSIDE[case]
    path = write_pairs(dataset, "human", pairs_of(), TOLD)
    before = path.read_bytes()
    with pytest.raises(UserError, match=told):
        write_pairs(dataset, "human", pairs_of(**changes), TOLD)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("name", ["", "../a", "a b", "a/b", "x" * 65, "a.b"])
def test_a_name_that_is_no_plain_word_is_refused(dataset, name):
    with pytest.raises(UserError, match="label name"):
        pairs_path(dataset, name)


def test_pairs_that_are_not_there_name_those_that_are(dataset):
    with pytest.raises(UserError, match=r"no labelled pairs 'default' \(it has: none\)"):
        read_pairs(dataset, "default")
    write_pairs(dataset, "one", pairs_of(), TOLD)
    write_pairs(dataset, "two", pairs_of(), TOLD)
    with pytest.raises(UserError, match=r"no labelled pairs 'default' \(it has: one, two\)"):
        read_pairs(dataset, "default")


def test_pairs_of_other_data_are_refused(dataset, tmp_path):
    write_pairs(dataset, "human", pairs_of(), TOLD)
    other = make_dataset(tmp_path / "other", (8, 8))
    shutil.copytree(dataset.folder / "labels", other.folder / "labels")
    with pytest.raises(UserError, match="made for other data"):
        read_pairs(other, "human")


DAMAGES = {
    "crossing": (lambda c: c["first"].__setitem__(1, 10), "crosses an episode's end"),
    "outside": (lambda c: c["second"].__setitem__(0, 99), "outside the 14 transitions"),
    "negative": (lambda c: c["second"].__setitem__(0, -3), "begins before the data"),
    "NaN": (lambda c: c["preference"].__setitem__(0, np.nan), "not between 0 and 1"),
    "fewer": (lambda c: c.update({k: v[:1] for k, v in c.items()}), "incomplete"),
    "none": (lambda c: c.update({k: v[:0] for k, v in c.items()}), "there are no pairs"),
    "no length": (lambda c: c.pop("length"), "damaged"),
    "text": (lambda c: c.update(first=np.array(["a", "b"])), "damaged"),
    "null": (lambda c: c.update(first=pa.array([0, None])), "damaged"),
    "int32": (lambda c: c.update(length=c["length"].astype(np.int32)), "damaged"),
    "float64": (lambda c: c.update(preference=c["preference"].astype(np.float64)), "damaged"),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_an_edited_file_is_refused_in_one_line(dataset, case):
    change, told = DAMAGES[case]
    path = write_pairs(dataset, "human", pairs_of(), TOLD)
    table = pq.read_table(path)
    columns = {name: table.column(name).to_numpy().copy() for name in table.column_names}
    change(columns)
    pq.write_table(pa.table(columns).replace_schema_metadata(table.schema.metadata), path)
    with pytest.raises(UserError, match=told) as caught:
        read_pairs(dataset, "human")
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [0, 3, 200, -1])
def test_a_truncated_file_is_refused(dataset, kept):
    path = write_pairs(dataset, "human", pairs_of(), TOLD)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match="damaged") as caught:
        read_pairs(dataset, "human")
    assert "\n" not in str(caught.value)


@given(at=st.integers(0, 10_000), value=st.integers(0, 255))
@settings(max_examples=150, deadline=None)
def test_no_changed_byte_gives_anything_but_sound_pairs_or_one_line(shared, at, value):
    path = write_pairs(shared, "spoilt", pairs_of(), TOLD)
    content = bytearray(path.read_bytes())
    content[at % len(content)] = value
    path.write_bytes(bytes(content))
    told = ""
    try:
        read_pairs(shared, "spoilt")[0].check(shared.episode_lengths)
    except UserError as error:
        told = str(error)
    assert "\n" not in told


def spoilt(**changes):
    def change(metadata):
        for key, value in changes.items():
            metadata.pop(key) if value is None else metadata.update({key: value})
        return json.dumps(metadata).encode()

    return change


METADATA = {
    "none": (lambda metadata: None, "damaged"),
    "cut": (lambda metadata: b"{", "damaged"),
    "a list": (lambda metadata: b"[]", "damaged"),
    "empty": (lambda metadata: b"{}", "damaged"),
    "no text": (lambda metadata: b"\xff", "damaged"),
    "no provenance": (spoilt(preferences=None), "damaged"),
    "text for a provenance": (spoilt(preferences="me"), "damaged"),
    "no dataset": (spoilt(dataset=None), "other data"),
    "text for a count": (spoilt(pairs="2"), "damaged"),
    "another count": (spoilt(pairs=3), "incomplete"),
    "another version": (spoilt(schema_version=2), "version 2"),
}


@pytest.mark.parametrize("case", METADATA)
def test_a_file_without_sound_metadata_is_refused(dataset, case):
    change, told = METADATA[case]
    path = write_pairs(dataset, "human", pairs_of(), TOLD)
    table = pq.read_table(path)
    content = change(json.loads(table.schema.metadata[METADATA_KEY]))
    entries = {} if content is None else {METADATA_KEY: content}
    pq.write_table(table.replace_schema_metadata(entries), path)
    with pytest.raises(UserError, match=told) as caught:
        read_pairs(dataset, "human")
    assert "\n" not in str(caught.value)


def test_a_provenance_that_json_cannot_hold_leaves_no_file(dataset):
    with pytest.raises(ValueError, match="JSON"):
        write_pairs(dataset, "human", pairs_of(), {"score": float("nan")})
    assert not pairs_path(dataset, "human").exists()
