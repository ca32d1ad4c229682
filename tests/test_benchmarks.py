"""The CPU benchmark of IQL without its peers: workers, protocol, and the check of one update."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from benchmarks.iql import TOLERANCE
from benchmarks.peers.ours import Plain, make
from benchmarks.peers.process import Worker
from benchmarks.peers.protocol import load_task, named, save_task
from benchmarks.peers.reference import expected_weights, largest_error, make_task


@pytest.fixture(scope="module")
def task():
    return make_task(threads=1)


def test_a_task_survives_its_file(task, tmp_path):
    save_task(tmp_path, task)
    again = load_task(tmp_path)
    assert again.settings["batch_size"] == task.settings["batch_size"]
    assert again.arrays.keys() == task.arrays.keys()
    assert all(np.array_equal(again.arrays[name], task.arrays[name]) for name in task.arrays)


@pytest.mark.parametrize("kind", ["ours", "floor", "plain"])
def test_a_candidate_takes_the_updates_that_it_says(task, kind):
    assert make(kind, 2 if kind != "plain" else 1, task).train(2) == 2


def test_float32_makes_of_one_update_what_float64_makes(task):
    expected = expected_weights(task, "jax")
    assert largest_error(task, expected, Plain(task).after_one_update()) < TOLERANCE


def test_the_check_sees_a_network_that_stayed_as_it_was(task):
    expected = dict(expected_weights(task, "jax"))
    for network in ("actor", "value", "critic", "target"):
        stale = {
            name: task.arrays[name.replace("target", "critic")]
            if name.startswith(network)
            else value
            for name, value in expected.items()
        }
        assert largest_error(task, expected, stale) > 2 * TOLERANCE


def test_the_check_sees_the_other_order(task):
    ordered, old_value = expected_weights(task, "jax"), expected_weights(task, "d3rlpy")
    assert "actor.log_std" not in old_value
    found = {**old_value, "actor.log_std": ordered["actor.log_std"]}
    assert largest_error(task, ordered, found) > 2 * TOLERANCE


def test_layers_are_stacked_by_member():
    members = [[(np.full((2, 3), k), np.full(3, k))] for k in (0, 1)]
    found = named("critic", members)
    assert found["critic.0.weight"].shape == (2, 2, 3)
    assert found["critic.0.bias"][1].tolist() == [1, 1, 1]


def test_a_worker_answers_lines_and_ends(task, tmp_path):
    save_task(tmp_path, task)
    command = [sys.executable, "-m", "benchmarks.peers.ours", tmp_path, "plain", "float32", "1"]
    worker = Worker("plain", command, 1, tmp_path / "log.txt")
    updates, seconds = worker.run(2)
    assert updates == 2
    assert seconds > 0.0
    assert "torch" in worker.versions
    found = worker.check(tmp_path / "weights.npz")
    assert largest_error(task, expected_weights(task, "plain"), found) < TOLERANCE
    assert worker.peak_memory_mib() > 1.0
    worker.close()


def test_a_worker_that_dies_is_told_with_its_words(tmp_path, capsys):
    code = "import sys; sys.exit('no such library')"
    with pytest.raises(SystemExit, match="the worker of broken ended"):
        Worker("broken", [sys.executable, "-c", code], 1, tmp_path / "log.txt")
    assert "no such library" in capsys.readouterr().err
