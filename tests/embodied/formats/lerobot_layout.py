"""A strict check of LeRobot's dataset format v3.0, written from its specification and reader."""

from __future__ import annotations

import json
import re
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

INFO_KEYS = {
    *("codebase_version", "robot_type", "total_episodes", "total_frames", "total_tasks"),
    *("chunks_size", "data_files_size_in_mb", "video_files_size_in_mb", "fps", "splits"),
    *("data_path", "video_path", "features"),
}
DEFAULTS = {
    "timestamp": "float32",
    **dict.fromkeys(("frame_index", "episode_index", "index", "task_index"), "int64"),
}
STATISTICS = {"min", "max", "mean", "std", "count", "q01", "q10", "q50", "q90", "q99"}
FILE = re.compile(r"chunk-(\d{3})/file-(\d{3})\.(parquet|mp4)")


def check(root: Path) -> None:
    """Assert everything that LeRobot v3.0 asks of a dataset."""
    info = json.loads((root / "meta" / "info.json").read_text())
    check_info(info)
    data = tables(root / "data")
    check_data(info, data)
    episodes = pa.concat_tables(tables(root / "meta" / "episodes").values()).to_pylist()
    check_episodes(info, data, episodes, root)
    check_tasks(root, info, episodes)
    check_statistics(info, data, episodes, json.loads((root / "meta" / "stats.json").read_text()))
    check_videos(root, info, episodes)
    known = {"data", "meta", "videos"} if info["video_path"] else {"data", "meta"}
    assert {item.name for item in root.iterdir()} == known


def tables(folder: Path) -> dict[tuple[int, int], pa.Table]:
    """Return the files of a folder in order; their numbers follow one another."""
    found = {}
    for path in sorted(folder.rglob("*.*")):
        match = FILE.fullmatch(str(path.relative_to(folder)))
        assert match, path
        found[int(match[1]), int(match[2])] = pq.ParquetFile(path).read()
    numbers = [chunk * 1000 + file for chunk, file in found]
    assert numbers == list(range(len(numbers)))
    return found


def check_info(info: dict) -> None:
    assert info.keys() == INFO_KEYS
    assert info["codebase_version"] == "v3.0"
    assert info["fps"] > 0
    assert info["chunks_size"] == 1000
    assert info["splits"] == {"train": f"0:{info['total_episodes']}"}
    name = "chunk-{chunk_index:03d}/file-{file_index:03d}"
    assert info["data_path"] == f"data/{name}.parquet"
    videos = [key for key, item in info["features"].items() if item["dtype"] == "video"]
    assert info["video_path"] == (f"videos/{{video_key}}/{name}.mp4" if videos else None)
    for key, item in info["features"].items():
        assert "/" not in key
        assert {"dtype", "shape", "names"} <= item.keys()
        assert 1 <= len(item["shape"]) <= 5
        assert all(type(size) is int and size > 0 for size in item["shape"])
        assert item["dtype"] == "video" or np.dtype(item["dtype"]).kind in "biuf"
    for key, dtype in DEFAULTS.items():
        assert info["features"][key] == {"dtype": dtype, "shape": [1], "names": None}
    assert {"observation.state", "action"} <= info["features"].keys()


def arrow_type(item: dict) -> pa.DataType:
    kind = pa.from_numpy_dtype(np.dtype(item["dtype"]))
    if item["shape"] == [1]:
        return kind
    if len(item["shape"]) == 1:
        return pa.list_(kind, item["shape"][0])
    for _ in item["shape"]:
        kind = pa.list_(kind)
    return kind


def check_data(info: dict, data: dict) -> None:
    stored = {key: item for key, item in info["features"].items() if item["dtype"] != "video"}
    for table in data.values():
        assert table.column_names == list(stored)
        for key, item in stored.items():
            assert table.schema.field(key).type == arrow_type(item), key
            shape = np.array(table.column(key).to_pylist()).shape[1:] or (1,)
            assert list(shape) == item["shape"], key
    whole = pa.concat_tables(data.values())
    assert len(whole) == info["total_frames"]
    np.testing.assert_array_equal(whole["index"], np.arange(len(whole)))
    assert set(whole["task_index"].to_pylist()) == set(range(info["total_tasks"]))
    expected = whole["frame_index"].to_numpy() / info["fps"]
    np.testing.assert_array_equal(whole["timestamp"], expected.astype(np.float32))


def check_episodes(info: dict, data: dict, episodes: list[dict], root: Path) -> None:
    assert [row["episode_index"] for row in episodes] == list(range(info["total_episodes"]))
    begin = 0
    for row in episodes:
        assert row["dataset_from_index"] == begin
        begin += row["length"]
        assert row["dataset_to_index"] == begin
        table = data[row["data/chunk_index"], row["data/file_index"]]
        here = table.filter(pc.equal(table["episode_index"], row["episode_index"]))
        assert here["index"].to_pylist() == list(range(row["dataset_from_index"], begin))
        assert here["frame_index"].to_pylist() == list(range(row["length"]))
        # An episode ends one way, and at its last frame alone.
        ends = np.array(here["next.done"]) | np.array(here["next.truncated"])
        assert ends.tolist() == [False] * (row["length"] - 1) + [True]
    for number, table in tables(root / "meta" / "episodes").items():
        assert set(table["meta/episodes/chunk_index"].to_pylist()) == {number[0]}
        assert set(table["meta/episodes/file_index"].to_pylist()) == {number[1]}


def check_tasks(root: Path, info: dict, episodes: list[dict]) -> None:
    table = pq.read_table(root / "meta" / "tasks.parquet")
    described = json.loads(table.schema.metadata[b"pandas"])
    (index,) = described["index_columns"]
    sentences = table[index].to_pylist()
    assert table["task_index"].to_pylist() == list(range(info["total_tasks"]))
    assert {item["field_name"] for item in described["columns"]} == set(table.column_names)
    assert all(set(row["tasks"]) <= set(sentences) for row in episodes)


def check_statistics(info: dict, data: dict, episodes: list[dict], stats: dict) -> None:
    assert stats.keys() == info["features"].keys()
    whole = pa.concat_tables(data.values())
    for key, item in info["features"].items():
        assert stats[key].keys() == STATISTICS
        video = item["dtype"] == "video"
        expected = (3, 1, 1) if video else (item["shape"][-1],)
        for name, value in stats[key].items():
            assert np.shape(value) == ((1,) if name == "count" else expected), (key, name)
            for row in episodes:
                assert np.shape(row[f"stats/{key}/{name}"]) == np.shape(value)
        if video:
            assert 0 <= np.min(stats[key]["min"]) <= np.max(stats[key]["max"]) <= 1
            continue
        assert stats[key]["count"] == [info["total_frames"]]
        values = np.array(whole[key].to_pylist(), np.float64).reshape(-1, expected[0])
        for name in ("min", "max", "mean", "std"):
            found = getattr(np, name)(values, axis=0)
            np.testing.assert_allclose(stats[key][name], found, rtol=1e-6, atol=1e-9)


def check_videos(root: Path, info: dict, episodes: list[dict]) -> None:
    for key, item in info["features"].items():
        if item["dtype"] != "video":
            continue
        assert item["names"] == ["height", "width", "channels"]
        ends: dict[tuple[int, int], float] = {}
        for row in episodes:
            place = row[f"videos/{key}/chunk_index"], row[f"videos/{key}/file_index"]
            begin, end = row[f"videos/{key}/from_timestamp"], row[f"videos/{key}/to_timestamp"]
            assert abs(begin - ends.get(place, 0.0)) < 1e-9
            assert abs((end - begin) * info["fps"] - row["length"]) < 1e-6
            ends[place] = end
        for (chunk, file), end in ends.items():
            path = info["video_path"].format(video_key=key, chunk_index=chunk, file_index=file)
            with av.open(str(root / path)) as container:
                stream = container.streams.video[0]
                assert [stream.height, stream.width, 3] == item["shape"]
                assert stream.codec.canonical_name == item["info"]["video.codec"]
                assert stream.pix_fmt == item["info"]["video.pix_fmt"] == "yuv420p"
                assert item["info"]["video.fps"] == info["fps"]
                assert abs(float(stream.base_rate) - info["fps"]) < 1e-3
                times = [frame.time for frame in container.decode(stream)]
            # LeRobot seeks a frame by its time, within 0.1 ms.
            np.testing.assert_allclose(times, np.arange(len(times)) / info["fps"], atol=1e-4)
            assert len(times) == round(end * info["fps"])
