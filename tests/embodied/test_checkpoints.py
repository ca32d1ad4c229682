"""Checkpoints appear whole, the newest is read, and damage is told."""

import pytest
import torch

from embodied import checkpoints
from embodied.errors import UserError


def state(value):
    return {"a": torch.full((2, 3), float(value)), "steps": torch.tensor(value)}


def test_the_newest_is_read_back_bit_for_bit(tmp_path):
    for step in (50, 100, 1000):  # by number, not as text
        checkpoints.save(tmp_path, step, state(step))
    step, found = checkpoints.load_newest(tmp_path)
    assert step == 1000
    assert found.keys() == state(0).keys()
    assert all(torch.equal(found[key], value) for key, value in state(1000).items())


def test_the_newest_two_are_kept(tmp_path):
    for step in (1, 2, 3, 4):
        checkpoints.save(tmp_path, step, state(step))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["step_000000003.safetensors", "step_000000004.safetensors"]


def test_without_a_checkpoint_there_is_none(tmp_path):
    assert checkpoints.load_newest(tmp_path) is None
    assert checkpoints.load_newest(tmp_path / "missing") is None


def test_a_view_is_stored_as_its_values(tmp_path):
    whole = torch.arange(12.0).view(3, 4)
    checkpoints.save(tmp_path, 1, {"view": whole.T, "row": whole[1]})
    _, found = checkpoints.load_newest(tmp_path)
    assert torch.equal(found["view"], whole.T)
    assert torch.equal(found["row"], whole[1])


def test_what_a_kill_left_half_written_is_not_read(tmp_path):
    checkpoints.save(tmp_path, 1, state(1))
    holder = tmp_path / ".step_000000002.safetensors.abcd"
    holder.mkdir()
    (holder / "step_000000002.safetensors").write_bytes(b"half")
    assert checkpoints.load_newest(tmp_path)[0] == 1


@pytest.mark.parametrize("content", [b"", b"x" * 100, None], ids=["empty", "noise", "cut"])
def test_a_damaged_file_is_told_and_the_one_before_it_remains(tmp_path, content):
    checkpoints.save(tmp_path, 1, state(1))
    path = checkpoints.save(tmp_path, 2, state(2))
    path.write_bytes(path.read_bytes()[:-4] if content is None else content)
    with pytest.raises(UserError, match="remove it to go on from the one before"):
        checkpoints.load_newest(tmp_path)
    path.unlink()
    assert checkpoints.load_newest(tmp_path)[0] == 1


def test_an_error_while_writing_leaves_the_earlier_ones(tmp_path, monkeypatch):
    checkpoints.save(tmp_path, 1, state(1))

    def broken(*arguments):
        raise RuntimeError("broken")

    monkeypatch.setattr("os.replace", broken)
    with pytest.raises(RuntimeError, match="broken"):
        checkpoints.save(tmp_path, 2, state(2))
    assert [path.name for path in tmp_path.iterdir()] == ["step_000000001.safetensors"]
