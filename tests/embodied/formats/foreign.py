"""Small datasets in foreign formats, made by the format's own library or to its specification."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embodied.dataset import Dataset
from embodied.formats.convert import convert, format_of
from embodied.video import write_video

LEROBOT_V30 = Path(__file__).parent / "data" / "lerobot_v30"


def read(path: Path, folder: Path) -> Dataset:
    """Read a foreign dataset in this process."""
    kind = format_of(path)
    assert kind is not None
    convert(path, kind, folder)
    return Dataset(folder)


def write_d4rl(path: Path, ends: str = "..T..O.", **more) -> Path:
    """A row for every character: T a terminal, O a timeout; every value tells its row."""
    count = len(ends)
    with h5py.File(path, "w") as file:
        file["observations"] = np.arange(2.0 * count).reshape(count, 2)
        file["actions"] = np.linspace(-1, 1, count, dtype=np.float32)[:, None]
        file["rewards"] = np.arange(count) / 3
        file["terminals"] = np.array([end == "T" for end in ends])
        file["timeouts"] = np.array([end == "O" for end in ends])
        file["infos/goal"] = np.arange(count)[:, None]
        file["metadata/algorithm"] = "SAC"
        for name, values in more.items():
            if name in file:
                del file[name]
            if values is not None:
                file[name] = values
    return path


def write_robomimic(path: Path, lengths=(3, 2), next_obs: bool = True) -> Path:
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["total"] = sum(lengths)
        data.attrs["env_args"] = json.dumps(
            {"env_name": "Lift", "type": 1, "env_kwargs": {"control_freq": 20}}
        )
        for number, length in enumerate(lengths):
            demo = data.create_group(f"demo_{number}")
            demo.attrs["num_samples"] = length
            time = np.arange(length + 1.0) + 100 * number
            rows = {
                "eef_pos": np.repeat(time[:, None], 3, axis=1),
                "gripper": -time[:, None],
                "agentview_image": np.full((length + 1, 4, 6, 3), number, np.uint8),
            }
            demo["actions"] = np.full((length, 2), 0.5)
            demo["rewards"] = np.arange(length) == (length - 1 if number == 0 else -1)
            demo["dones"] = (np.arange(length) == length - 1).astype(np.int64)
            demo["states"] = np.zeros((length, 7))
            for name, values in rows.items():
                demo[f"obs/{name}"] = values[:-1]
                if next_obs:
                    demo[f"next_obs/{name}"] = values[1:]
        file["mask/train"] = np.array([b"demo_0"])
    return path


def minari_buffers(dictionary: bool):
    """Two episodes, 3 steps to a terminal and 2 to a time limit."""
    from minari.data_collector import EpisodeBuffer

    for number, length in enumerate((3, 2)):
        time = np.arange(length + 1.0) + 10 * number
        vector = np.stack([time, -time], axis=1)
        image = np.full((length + 1, 32, 40, 3), 50 * number, np.uint8)
        last = np.arange(length) == length - 1
        yield EpisodeBuffer(
            id=None,
            seed=number,
            observations={"position": vector, "camera": image} if dictionary else vector,
            actions=np.full((length, 1), 0.25 * number, np.float32),
            rewards=np.arange(length) / 7,
            terminations=last & (number == 0),
            truncations=last & (number == 1),
            infos={"qpos": np.arange(length + 1.0).tolist(), "mode": {"on": [True] * (length + 1)}},
        )


def write_minari(folder: Path, data_format: str = "hdf5", dictionary: bool = False) -> Path:
    """A dataset that Minari's own storage wrote, in the layout of Minari's root."""
    from gymnasium.spaces import Box
    from gymnasium.spaces import Dict as DictSpace
    from minari.dataset.minari_storage import MinariStorage

    space = Box(-np.inf, np.inf, (2,), np.float64)
    if dictionary:
        camera = Box(0, 255, (32, 40, 3), np.uint8)
        space = DictSpace({"position": space, "camera": camera})
    (folder / "data").mkdir(parents=True)
    storage = MinariStorage.new(
        folder / "data",
        observation_space=space,
        action_space=Box(-2.0, 2.0, (1,), np.float32),
        data_format=data_format,
        jpeg_encoding=False,
    )
    storage.update_episodes(minari_buffers(dictionary))
    storage.update_metadata({"dataset_id": "toy/test-v0", "minari_version": "0.5.4"})
    return folder


def change_json(path: Path, **values) -> None:
    """Change keys of a JSON file; a key of value None is left out."""
    content = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def lerobot_v21_info(lengths) -> dict:
    rows = {"timestamp": "float32", "frame_index": "int64", "episode_index": "int64"}
    rows |= {"index": "int64", "task_index": "int64", "next.reward": "float32", "next.done": "bool"}
    features = {name: {"dtype": dtype, "shape": [1], "names": None} for name, dtype in rows.items()}
    vector = {"dtype": "float32", "shape": [2], "names": ["x", "y"]}
    features |= {"observation.state": vector, "action": vector}
    axes = ["height", "width", "channels"]
    camera = {"dtype": "video", "shape": [32, 48, 3], "names": axes}
    features["observation.images.front"] = camera
    name = "chunk-{episode_chunk:03d}"
    return {
        "codebase_version": "v2.1",
        "robot_type": "arm",
        "total_episodes": len(lengths),
        "total_frames": sum(lengths),
        "total_tasks": 1,
        "total_videos": len(lengths),
        "total_chunks": 1,
        "chunks_size": 1000,
        "fps": 10,
        "splits": {"train": f"0:{len(lengths)}"},
        "data_path": f"data/{name}/episode_{{episode_index:06d}}.parquet",
        "video_path": f"videos/{name}/{{video_key}}/episode_{{episode_index:06d}}.mp4",
        "features": features,
    }


def write_lerobot_v21(folder: Path, lengths=(4, 3)) -> Path:
    """LeRobot v2.1 to its specification: a Parquet and an MP4 file per episode, JSON lines."""
    (folder / "meta").mkdir(parents=True)
    (folder / "meta" / "info.json").write_text(json.dumps(lerobot_v21_info(lengths)))
    (folder / "meta" / "tasks.jsonl").write_text('{"task_index": 0, "task": "lift"}\n')
    lines, start = [], 0
    for number, length in enumerate(lengths):
        lines.append({"episode_index": number, "tasks": ["lift"], "length": length})
        frame = np.arange(length)
        state = np.stack([frame, frame + 100.0 * number], axis=1).astype(np.float32)
        columns = {
            "observation.state": pa.array(list(state)),
            "action": pa.array(list(state / 10)),
            "timestamp": pa.array((frame / 10).astype(np.float32)),
            "frame_index": pa.array(frame),
            "episode_index": pa.array(np.full(length, number)),
            "index": pa.array(frame + start),
            "task_index": pa.array(np.zeros(length, np.int64)),
            "next.reward": pa.array(frame.astype(np.float32)),
            "next.done": pa.array((frame == length - 1) & (number == 0)),
        }
        start += length
        place = folder / "data" / "chunk-000" / f"episode_{number:06d}.parquet"
        place.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), place)
        video = folder / "videos/chunk-000/observation.images.front" / f"episode_{number:06d}.mp4"
        video.parent.mkdir(parents=True, exist_ok=True)
        frames = (np.full((32, 48, 3), 20 + 40 * t + 10 * number, np.uint8) for t in frame)
        write_video(video, frames, 10)
    (folder / "meta" / "episodes.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    return folder


def copy_lerobot_v30(folder: Path) -> Path:
    """The dataset that LeRobot 0.4.4 wrote (see data/README.md)."""
    return Path(shutil.copytree(LEROBOT_V30, folder))


def rewrite(path, change):
    table = change(pq.read_table(path))
    pq.write_table(table, path)


def with_column(table, name, values):
    index = table.schema.get_field_index(name)
    array = pa.array(values)
    return table.append_column(name, array) if index < 0 else table.set_column(index, name, array)
