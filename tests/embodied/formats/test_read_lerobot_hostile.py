from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from embodied.dataset import Dataset
from embodied.errors import UserError
from embodied.files import read_json
from tests.embodied.formats.foreign import (
    change_json,
    copy_lerobot_v30,
    read,
    rewrite,
    with_column,
)


def data(folder):
    return folder / "data/chunk-000/file-000.parquet"


def episodes(folder):
    return folder / "meta/episodes/chunk-000/file-000.parquet"


def wrong_frame(folder):
    rewrite(data(folder), lambda table: with_column(table, "frame_index", np.arange(15)))


def fewer_rows(folder):
    rewrite(data(folder), lambda table: table.slice(0, 13))


def gap(folder):
    rewrite(
        data(folder),
        lambda table: with_column(table, "next.reward", pa.array([None, *range(14)], pa.float32())),
    )


def ragged(folder):
    rows = [[1.0] * (2 + (i == 4)) for i in range(15)]
    rewrite(data(folder), lambda table: with_column(table, "action", rows))


def text_action(folder):
    rewrite(data(folder), lambda table: with_column(table, "action", ["a"] * 15))


def huge_length(folder):
    rewrite(episodes(folder), lambda table: with_column(table, "length", [2**62, 1, 1]))


def negative_length(folder):
    rewrite(episodes(folder), lambda table: with_column(table, "length", [-5, 1, 1]))


def other_order(folder):
    rewrite(episodes(folder), lambda table: table.take([1, 0, 2]))


def lacks_column(folder):
    rewrite(episodes(folder), lambda table: table.drop_columns(["data/file_index"]))


def no_video(folder):
    (folder / "videos/observation.images.front/chunk-000/file-000.mp4").unlink()


def no_action(folder):
    info = read_json(folder / "meta" / "info.json")
    features = {k: v for k, v in info["features"].items() if k != "action"}
    change_json(folder / "meta" / "info.json", features=features)


def old_version(folder):
    change_json(folder / "meta" / "info.json", codebase_version="v1.6")


def no_rate(folder):
    change_json(folder / "meta" / "info.json", fps=0)


def features_list(folder):
    change_json(folder / "meta" / "info.json", features=[1])


HOSTILE = [
    wrong_frame,
    fewer_rows,
    gap,
    ragged,
    text_action,
    huge_length,
    negative_length,
    other_order,
    lacks_column,
    no_video,
    no_action,
    old_version,
    no_rate,
    features_list,
]


@pytest.mark.parametrize("make", HOSTILE, ids=lambda item: item.__name__)
def test_a_hostile_dataset_gives_one_line(tmp_path, make):
    folder = copy_lerobot_v30(tmp_path / "v30")
    make(folder)
    with pytest.raises(UserError) as caught:
        read(folder, tmp_path / "native")
    assert "\n" not in str(caught.value)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["v30"]


def video_entry(folder):
    path = folder / "dataset.json"
    value = json.loads(path.read_text())
    return path, value, value["columns"]["state.front"]


@pytest.mark.parametrize(
    "change",
    [
        {"episodes": []},
        {"episodes": [["../../etc/passwd", 0.0, 5]] * 3},
        {"episodes": [["v.mp4", -1.0, 5]] * 3},
        {"episodes": [["v.mp4", 0.0, 0]] * 3},
        {"fps": 0},
        {"fps": "nan"},
        {"root": None, "episodes": 3},
    ],
)
def test_a_malformed_video_column_is_refused(tmp_path, change):
    read(copy_lerobot_v30(tmp_path / "v30"), tmp_path / "native")
    path, value, entry = video_entry(tmp_path / "native")
    entry["video"] |= change
    path.write_text(json.dumps(value))
    with pytest.raises(UserError):
        Dataset(tmp_path / "native")


def test_what_is_no_video_is_told_when_a_frame_is_read(tmp_path):
    source = copy_lerobot_v30(tmp_path / "v30")
    dataset = read(source, tmp_path / "native")
    video = source / "videos/observation.images.front/chunk-000/file-000.mp4"
    # A playlist could make a decoder read other files.
    video.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/passwd\n")
    with pytest.raises(UserError, match="not an MP4 video"):
        dataset.column("state.front")[0]
    assert len(dataset.transitions(slice(0, 3)).observation) == 3


def test_a_video_of_another_size_or_too_short_is_told(tmp_path):
    source = copy_lerobot_v30(tmp_path / "v30")
    dataset = read(source, tmp_path / "native")
    path, value, entry = video_entry(dataset.folder)
    for change in ({"shape": [64, 32, 3]}, {"video": {**entry["video"], "fps": 1.0}}):
        path.write_text(
            json.dumps(
                {**value, "columns": {**value["columns"], "state.front": {**entry, **change}}}
            )
        )
        column = Dataset(dataset.folder).column("state.front")
        with pytest.raises(UserError):
            column[:]
