"""Truncated and changed bytes: a reader gives valid data or one clear error, nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from embodied.errors import UserError
from tests.embodied.formats.foreign import (
    copy_lerobot_v30,
    read,
    write_d4rl,
    write_lerobot_v21,
    write_minari,
    write_robomimic,
)

MAKERS = {
    "d4rl": (lambda folder: write_d4rl(folder / "a.hdf5"), 20),
    "robomimic": (lambda folder: write_robomimic(folder / "a.hdf5", lengths=(2,)), 16),
    "minari hdf5": (lambda folder: write_minari(folder / "a"), 12),
    "minari arrow": (lambda folder: write_minari(folder / "a", "arrow"), 14),
    "minari parquet": (lambda folder: write_minari(folder / "a", "parquet"), 14),
    "lerobot v2.1": (lambda folder: write_lerobot_v21(folder / "a", lengths=(2, 1)), 14),
    "lerobot v3.0": (lambda folder: copy_lerobot_v30(folder / "a"), 14),
}


@pytest.mark.parametrize("name", MAKERS)
def test_damaged_files_give_valid_data_or_one_error(name, tmp_path, monkeypatch):
    monkeypatch.setattr("embodied.files._sync", lambda path: None)  # nothing here has to last
    make, count = MAKERS[name]
    path = make(tmp_path)
    files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file())
    rng = np.random.default_rng(sum(map(ord, name)))
    refused = 0
    for trial in range(count):
        file = files[trial % len(files)]
        kept = file.read_bytes()
        damage(file, kept, rng)
        try:
            use(path, tmp_path / "native")
        except UserError:
            refused += 1
        finally:
            file.write_bytes(kept)
            shutil.rmtree(tmp_path / "native", ignore_errors=True)
    assert refused > 0
    use(path, tmp_path / "native")  # unharmed it is read


def damage(file: Path, content: bytes, rng: np.random.Generator) -> None:
    if not content or rng.random() < 0.25:
        file.write_bytes(content[: int(rng.integers(0, len(content) + 1))])
        return
    changed = bytearray(content)
    for place in rng.integers(0, len(content), rng.integers(1, 12)):
        changed[place] = rng.integers(0, 256)
    file.write_bytes(changed)


def use(path: Path, folder: Path) -> None:
    dataset = read(path, folder)
    batch = dataset.transitions(slice(0, len(dataset)))
    assert len(batch.observation) == len(batch.next_observation) == len(dataset)
    for values in (*batch.next_state.values(), *batch.columns.values()):
        assert len(values) == len(dataset)
