from __future__ import annotations

import sys
from pathlib import Path

import av
import numpy as np
import pytest

from embodied.errors import UserError
from embodied.video import even, write_video


def frames(count: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    images = np.full((count, height, width, 3), (200, 40, 90), np.uint8)
    for index, image in enumerate(images):
        image[: height // 2, : width // 2] = 5 * index
    return list(images)


def test_video_decodes_to_the_frames_that_were_written(tmp_path: Path) -> None:
    path = tmp_path / "episode.mp4"
    images = frames(25)
    write_video(path, iter(images), fps=12.5)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        decoded = list(container.decode(stream))
        assert (stream.codec_context.name, decoded[0].format.name) == ("h264", "yuv420p")
        assert float(stream.average_rate) == 12.5
        assert float(stream.duration * stream.time_base) == pytest.approx(2.0)
    assert len(decoded) == 25
    for image, frame in zip(images, decoded, strict=True):
        found = frame.reformat(format="rgb24", src_colorspace="ITU709").to_ndarray()
        for row, column in ((10, 10), (40, 50)):
            assert found[row, column] == pytest.approx(image[row, column].astype(float), abs=6)


def test_index_comes_first_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "new" / "episode.mp4"
    write_video(path, frames(5), fps=20)
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(("height", "width"), [(47, 64), (48, 65), (33, 17)])
def test_odd_sizes_keep_every_pixel(tmp_path: Path, height: int, width: int) -> None:
    path = tmp_path / "odd.mp4"
    write_video(path, frames(3, height, width), fps=10)
    with av.open(str(path)) as container:
        first = next(container.decode(video=0))
    assert (first.height, first.width) == (height + height % 2, width + width % 2)
    image = np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)
    assert np.array_equal(even(image)[:height, :width], image)


def test_same_frames_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, frames(6), fps=20)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


@pytest.mark.parametrize(
    ("images", "fps", "message"),
    [
        ([], 20, "at least one frame"),
        (frames(2), 0, "fps"),
        ([np.zeros((8, 8, 3), np.float32)], 20, "uint8"),
        ([np.zeros((8, 8), np.uint8)], 20, "uint8"),
        ([*frames(2), *frames(1, 50, 64)], 20, "differ in size"),
    ],
)
def test_wrong_frames_leave_the_earlier_file(
    tmp_path: Path, images: list[np.ndarray], fps: float, message: str
) -> None:
    path = tmp_path / "episode.mp4"
    path.write_bytes(b"earlier")
    with pytest.raises(ValueError, match=message):
        write_video(path, images, fps)
    assert path.read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_missing_av_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"pip install 'embodied-stack\[report\]'"):
        write_video(tmp_path / "episode.mp4", frames(2), fps=20)
    assert list(tmp_path.iterdir()) == []
