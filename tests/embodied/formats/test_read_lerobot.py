from __future__ import annotations

import numpy as np
import pytest

from embodied.errors import UserError
from embodied.files import read_json
from embodied.formats.lerobot_meta import fill
from tests.embodied.formats.foreign import (
    change_json,
    copy_lerobot_v30,
    read,
    rewrite,
    with_column,
    write_lerobot_v21,
)


def test_what_lerobot_wrote_is_read(tmp_path):
    dataset = read(copy_lerobot_v30(tmp_path / "v30"), tmp_path / "native")
    # Rows 5, 4 and 6; the first episode ends in a terminal state, the others are cut.
    assert dataset.episode_lengths.tolist() == [5, 3, 5]
    assert dataset.episode_ends("terminated").tolist() == [True, False, False]
    times = [(e, t) for e, rows in enumerate((5, 4, 6)) for t in range(rows)]
    times.insert(5, (0, 4))  # stands in for the observation after the terminal state
    expected = np.array([[e, t, e + t / 10] for e, t in times], np.float32)
    np.testing.assert_array_equal(dataset.column("observation"), expected)
    reward = np.asarray(dataset.column("column.environment_reward"))
    assert reward.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 0, 1, 2, 3, 4]
    assert dataset.episode_ends("column.success").tolist() == [True, False, False]
    assert dataset.info.control_hz == 10
    origin = dataset.info.origin
    assert (origin["tasks"], origin["robot_type"]) == (["push the cube"], "tiny_arm")
    told = [origin[key] for key in ("terminated", "truncated", "cut", "stand_in", "dropped_last")]
    assert told == [1, 0, 2, 1, 2]


def test_frames_are_decoded_when_read_and_are_those_of_their_rows(tmp_path):
    dataset = read(copy_lerobot_v30(tmp_path / "v30"), tmp_path / "native")
    column = dataset.column("state.front")
    assert (column.shape, column.dtype) == ((16, 32, 32, 3), np.uint8)
    assert not list((tmp_path / "native").glob("*front*"))
    grey = [20 * t + 60 * e + 10 for e, rows in enumerate((5, 4, 6)) for t in range(rows)]
    grey.insert(5, grey[4])
    found = np.asarray(column).mean((1, 2, 3))
    np.testing.assert_allclose(found, grey, atol=3)  # the video is compressed
    order = np.array([15, 0, 7, 7, 3, 4])
    np.testing.assert_array_equal(column[order], np.asarray(column)[order])
    np.testing.assert_array_equal(column[3], np.asarray(column)[3])
    np.testing.assert_array_equal(column[2:9:3], np.asarray(column)[2:9:3])
    batch = dataset.transitions(np.array([4, 5]))
    np.testing.assert_allclose(batch.state["front"].mean((1, 2, 3)), [90, 70], atol=3)
    np.testing.assert_allclose(batch.next_state["front"].mean((1, 2, 3)), [90, 90], atol=3)
    assert dataset.episode(1).state["front"].shape == (4, 32, 32, 3)


def test_version_2_1_is_read_from_its_files_per_episode(tmp_path):
    dataset = read(write_lerobot_v21(tmp_path / "v21"), tmp_path / "native")
    assert dataset.episode_lengths.tolist() == [4, 2]
    rows = [[0, 0], [1, 1], [2, 2], [3, 3], [3, 3], [0, 100], [1, 101], [2, 102]]
    assert np.asarray(dataset.column("observation")).tolist() == rows
    grey = dataset.column("state.front")[:].mean((1, 2, 3))
    np.testing.assert_allclose(grey, [20, 60, 100, 140, 140, 30, 70, 110], atol=4)
    assert dataset.info.origin["tasks"] == ["lift"]


def test_an_episode_ended_by_time_is_bootstrapped(tmp_path):
    folder = copy_lerobot_v30(tmp_path / "v30")
    cut = np.isin(np.arange(15), [4, 8])
    change = {"dtype": "bool", "shape": [1], "names": None}
    info = read_json(folder / "meta" / "info.json")
    change_json(
        folder / "meta" / "info.json", features={**info["features"], "next.truncated": change}
    )
    rewrite(
        folder / "data/chunk-000/file-000.parquet",
        lambda table: with_column(table, "next.truncated", cut),
    )
    dataset = read(folder, tmp_path / "native")
    # `next.done` with `next.truncated` is the end by time, not a terminal state.
    assert not np.asarray(dataset.column("terminated")).any()
    assert dataset.episode_lengths.tolist() == [4, 3, 5]
    origin = dataset.info.origin
    assert (origin["truncated"], origin["cut"]) == (2, 1)


def test_images_in_the_rows_become_a_field(tmp_path):
    import io

    from PIL import Image

    folder = write_lerobot_v21(tmp_path / "v21", lengths=(3,))
    info = read_json(folder / "meta" / "info.json")
    features = {k: v for k, v in info["features"].items() if v["dtype"] != "video"}
    features["observation.images.wrist"] = {"dtype": "image", "shape": [4, 5, 3], "names": None}
    change_json(folder / "meta" / "info.json", features=features)
    images = []
    for step in range(3):
        buffer = io.BytesIO()
        Image.fromarray(np.full((4, 5, 3), step, np.uint8)).save(buffer, "PNG")
        images.append({"bytes": buffer.getvalue(), "path": "x.png"})
    rewrite(
        folder / "data/chunk-000/episode_000000.parquet",
        lambda table: with_column(table, "observation.images.wrist", images),
    )
    dataset = read(folder, tmp_path / "native")
    wrist = np.asarray(dataset.column("state.wrist"))
    assert (wrist.dtype, wrist[:, 0, 0, 0].tolist()) == (np.uint8, [0, 1, 2, 2])


@pytest.mark.parametrize(
    "template",
    [
        "../../{chunk_index}.parquet",
        "/etc/passwd",
        "data/{chunk_index.__class__}",
        "data/{0}",
        "data/{chunk_index!r}",
        "data/{chunk_index:1000000000d}",
        "{unknown}",
        "{",
    ],
)
@pytest.mark.parametrize("key", ["data_path", "video_path"])
def test_a_path_out_of_the_dataset_is_not_followed(tmp_path, key, template):
    folder = copy_lerobot_v30(tmp_path / "v30")
    change_json(folder / "meta" / "info.json", **{key: template})
    with pytest.raises(UserError, match=r"leads out of|not understood"):
        read(folder, tmp_path / "native")


def test_a_link_out_of_the_dataset_is_not_followed(tmp_path):
    folder = copy_lerobot_v30(tmp_path / "v30")
    file = folder / "data/chunk-000/file-000.parquet"
    file.rename(tmp_path / "elsewhere.parquet")
    file.symlink_to(tmp_path / "elsewhere.parquet")
    with pytest.raises(UserError, match="cp -rL"):
        read(folder, tmp_path / "native")


def test_templates_are_filled_without_python_s_format():
    values = {"chunk_index": 3, "video_key": "a.b"}
    assert fill("v/{video_key}/chunk-{chunk_index:03d}.mp4", values) == "v/a.b/chunk-003.mp4"
    with pytest.raises(UserError):
        fill("{video_key:03d}", values)


@pytest.mark.parametrize(
    ("name", "clash"),
    [("observation.front", "observation.images.front"), ("environment_reward", "next.reward")],
)
def test_features_that_would_share_a_name_are_refused(tmp_path, name, clash):
    folder = write_lerobot_v21(tmp_path / "v21", lengths=(3,))
    info = read_json(folder / "meta" / "info.json")
    feature = {"dtype": "float32", "shape": [1], "names": None}
    change_json(folder / "meta" / "info.json", features={**info["features"], name: feature})
    rewrite(
        folder / "data/chunk-000/episode_000000.parquet",
        lambda table: with_column(table, name, np.zeros(3, np.float32)),
    )
    with pytest.raises(UserError, match="would both be called") as caught:
        read(folder, tmp_path / "native")
    assert name in str(caught.value)
    assert clash in str(caught.value)


def test_frames_follow_an_end_within_an_episode(tmp_path):
    folder = write_lerobot_v21(tmp_path / "v21", lengths=(4,))
    rewrite(
        folder / "data/chunk-000/episode_000000.parquet",
        lambda table: with_column(table, "next.done", [False, True, False, True]),
    )
    dataset = read(folder, tmp_path / "native")
    assert dataset.episode_lengths.tolist() == [2, 2]
    grey = dataset.column("state.front")[:].mean((1, 2, 3))
    np.testing.assert_allclose(grey, [20, 60, 60, 100, 140, 140], atol=4)
