"""A small training on the shared dataset."""

import shutil

import pytest

from embodied.dataset import Dataset
from embodied.engine.precision import set_matmul_precision
from embodied.environments import EnvConfig
from embodied.stages.labelled import DataConfig
from embodied.stages.train import TrainConfig


@pytest.fixture(name="runs_here")
def _runs_here(tmp_path, monkeypatch):
    monkeypatch.setenv("EMBODIED_RUNS", str(tmp_path / "runs"))
    yield tmp_path / "runs"
    set_matmul_precision("float32")


@pytest.fixture(name="config")
def _config(push_dataset, runs_here):
    """A training of two seeds that takes a second; its run folder lies under ``tmp_path``."""
    return TrainConfig(
        env=EnvConfig("push", max_steps=10),
        data=DataConfig((str(push_dataset.folder),)),
        policy={"name": "iql", "hidden": [16, 16], "batch_size": 32},
        seeds=(0, 1),
        steps=100,
        threads=1,
        log_every=50,
        checkpoint_every=50,
        curve_every=0,
        evaluation_episodes=3,
        videos=False,
    )


@pytest.fixture(name="copied")
def _copied(push_dataset, tmp_path):
    """A copy of the shared dataset, to be changed."""
    return Dataset(shutil.copytree(push_dataset.folder, tmp_path / "copy"))


@pytest.fixture(scope="session", name="packages")
def _packages():
    """Reads the weights of every policy package of a run: place -> bytes."""

    def read(run):
        return {
            str(path.parent.relative_to(run.path)): path.read_bytes()
            for path in run.path.rglob("policy.safetensors")
        }

    return read
