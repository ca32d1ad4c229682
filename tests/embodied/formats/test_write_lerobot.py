"""LeRobot v3.0 as we write it: its layout, its values, and what it has no place for."""

import json
from dataclasses import replace

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from embodied.errors import UserError
from embodied.formats.lerobot_features_write import merge, statistics, to_arrow
from embodied.formats.lerobot_files_write import Series
from embodied.formats.lerobot_write import write
from tests.embodied.formats import lerobot_layout, written


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A dataset with a camera."""
    path = tmp_path_factory.mktemp("lerobot") / "data"
    write(path, written.info(), iter(written.episodes(camera=True)))
    return path


def rows(path):
    files = sorted((path / "data").rglob("*.parquet"))
    return {
        name: np.concatenate(
            [np.array(pq.ParquetFile(file).read()[name].to_pylist()) for file in files]
        )
        for name in pq.read_schema(files[0]).names
    }


def test_the_layout_is_lerobots(stored):
    lerobot_layout.check(stored)


def test_the_check_finds_what_is_wrong(stored):
    info = json.loads((stored / "meta" / "info.json").read_text())
    with pytest.raises(AssertionError):
        lerobot_layout.check_info({**info, "fps": 0})
    with pytest.raises(AssertionError):
        lerobot_layout.check_data(
            {**info, "total_frames": 3}, lerobot_layout.tables(stored / "data")
        )


def test_rows_hold_the_observation_before_and_the_reward_after_each_action(stored):
    found, expected = rows(stored), written.episodes()
    for name, parts in {
        "observation.state": [item.observation[:-1] for item in expected],
        "observation.cube": [item.state["cube"][:-1] for item in expected],
        "observation.blocks": [item.state["blocks"][:-1] for item in expected],
        "action": [item.action for item in expected],
        "next.reward": [item.columns["environment_reward"] for item in expected],
        "next.success": [item.columns["success"] for item in expected],
        "intervention": [item.columns["intervention"] for item in expected],
        "index_": [item.columns["index"] for item in expected],
    }.items():
        np.testing.assert_array_equal(found[name], np.concatenate(parts), err_msg=name)
    last = np.cumsum([length for length, _ in written.LENGTHS]) - 1
    assert found["next.done"][last].tolist() == [True, False, True, False]
    assert found["next.truncated"][last].tolist() == [False, True, False, True]


def test_last_observations_lie_in_a_file_of_ours(stored):
    table = pq.read_table(stored / "meta" / "embodied" / "final_observations.parquet")
    assert table["episode_index"].to_pylist() == [0, 1, 2, 3]
    for name, part in (("observation.state", None), ("observation.grid", "grid")):
        expected = [
            (item.observation if part is None else item.state[part])[-1]
            for item in written.episodes()
        ]
        np.testing.assert_array_equal(np.array(table[name].to_pylist(), "f4"), expected)
    assert "observation.images.front" not in table.column_names


def test_the_video_shows_the_frames(stored):
    path = stored / "videos" / "observation.images.front" / "chunk-000" / "file-000.mp4"
    steps = [step for length, _ in written.LENGTHS for step in range(length)]
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == len(steps)
    for frame, step in zip(frames, steps, strict=True):
        error = np.abs(frame.astype(int) - written.picture(step))
        assert np.median(error) < 5, step


def test_small_limits_divide_data_and_videos_into_files(tmp_path):
    path = tmp_path / "data"
    # An encoder keeps some frames back, so its file begins to grow late.
    items = [written.episode(length, True, 0, camera=True) for length in (90, 3, 2)]
    write(path, written.info(), items, data_mb=0.001, video_mb=0.001)
    lerobot_layout.check(path)
    assert len(list((path / "data").rglob("*.parquet"))) == 3
    assert len(list((path / "videos").rglob("*.mp4"))) == 2


def test_a_chunk_takes_a_thousand_files(tmp_path):
    series = Series(tmp_path, "parquet", 1)
    names = [str(series.begin().relative_to(tmp_path)) for _ in range(1001)]
    assert names[0] == "chunk-000/file-000.parquet"
    assert names[999:] == ["chunk-000/file-999.parquet", "chunk-001/file-000.parquet"]


@pytest.mark.parametrize(("rate", "fps"), [(0.0, 1), (29.97, 29.97), (50.0, 50)])
def test_the_rate_may_be_unknown_or_broken(tmp_path, rate, fps):
    path = tmp_path / "data"
    write(path, written.info(control_hz=rate), written.episodes(camera=True)[:2])
    lerobot_layout.check(path)
    assert json.loads((path / "meta" / "info.json").read_text())["fps"] == pytest.approx(fps)


def test_odd_images_are_made_even(tmp_path):
    item = written.episode(3, True, 0)
    odd = np.stack([written.picture(step, 17, 33) for step in range(4)])
    write(tmp_path / "data", written.info(), [replace(item, state={"front": odd})])
    lerobot_layout.check(tmp_path / "data")


def test_without_an_instruction_the_task_is_the_environment(tmp_path):
    write(tmp_path / "data", written.info(origin={}), written.episodes()[:1])
    table = pq.read_table(tmp_path / "data" / "meta" / "tasks.parquet")
    assert table["__index_level_0__"].to_pylist() == ["push"]


def spoil(what):
    first, second = written.episodes()[:2]
    if what == "nan":
        second.observation[2, 1] = np.nan
    elif what == "reward":
        second.columns["environment_reward"][3] = np.inf
    elif what == "columns":
        second = replace(second, columns={})
    elif what == "length":
        second = replace(second, observation=second.observation[:-1])
    elif what == "type":
        second = replace(second, action=second.action.astype("f8"))
    elif what == "object":
        first = replace(first, columns={"text": np.array(["a"] * len(first.action), object)})
    elif what == "empty":
        second = replace(second, action=second.action[:0])
    return [] if what == "none" else [first, second]


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("nan", "observation.state of episode 1 has NaN"),
        ("reward", "next.reward of episode 1 has NaN or infinity"),
        ("columns", "other columns than the episodes before it"),
        ("length", "column observation: an episode of 6 entries cannot take"),
        ("type", "column action"),
        ("object", "'column.text' of object cannot be kept"),
        ("empty", "at least one transition"),
        ("none", "at least one episode"),
    ],
)
def test_what_cannot_be_written_is_told_and_leaves_nothing(tmp_path, what, told):
    with pytest.raises(UserError, match=told):
        write(tmp_path / "data", written.info(), spoil(what))
    assert list(tmp_path.iterdir()) == []


def test_other_columns_may_have_gaps_that_statistics_leave_out(tmp_path):
    items = written.episodes()
    items[0].columns["one"][2:] = np.nan
    items[2].columns["one"][:] = np.inf
    write(tmp_path / "data", written.info(), items)
    stats = json.loads((tmp_path / "data" / "meta" / "stats.json").read_text())
    values = np.concatenate([item.columns["one"] for item in items])
    assert stats["one"]["max"] == [max(0.0, values[np.isfinite(values)].max())]
    np.testing.assert_array_equal(rows(tmp_path / "data")["one"], values[:, 0])


def test_an_existing_folder_is_left_alone(tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(UserError, match="exists already"):
        write(tmp_path / "data", written.info(), written.episodes())


@settings(max_examples=50, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from(["f4", "f8", "i8", "u1", "?"]),
        hnp.array_shapes(min_dims=1, max_dims=4, max_side=4),
    )
)
def test_arrow_holds_what_an_array_holds(values):
    found = np.array(to_arrow(values).to_pylist(), values.dtype).reshape(values.shape)
    np.testing.assert_array_equal(found, values)


@settings(max_examples=50, deadline=None)
@given(
    hnp.arrays("f8", st.tuples(st.integers(2, 20), st.just(2)), elements=st.floats(-100, 100)),
    st.data(),
)
def test_statistics_of_parts_merge_into_those_of_the_whole(values, data):
    cut = data.draw(st.integers(1, len(values) - 1))
    found, whole = merge(statistics(values[:cut]), statistics(values[cut:])), statistics(values)
    for name in ("min", "max", "mean", "std", "count"):
        np.testing.assert_allclose(found[name], whole[name], rtol=1e-9, atol=1e-9)
    assert (found["q50"] >= whole["min"]).all()
    assert (found["q50"] <= whole["max"]).all()
