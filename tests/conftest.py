"""What several folders' tests share: a small labelled dataset, random arrays, and the devices.

Simulation and storage are imported where they are used, so that the learners' tests also run on a
machine that has torch and NumPy alone.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from embodied.engine.data import Source

# A suite that was started in the background may have been told to ignore Ctrl-C; tests send it.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

torch.set_num_threads(1)  # tiny products: a second thread on a busy machine makes them crawl

PUSH_REWARD = '''\
def reward(state, action, next_state):
    """Reach for the cube and bring it closer to the target."""
    before = np.linalg.norm(state.cube_position - state.target_position, axis=-1)
    after = np.linalg.norm(next_state.cube_position - next_state.target_position, axis=-1)
    reach = -np.linalg.norm(next_state.tip_position - next_state.cube_position, axis=-1)
    progress = 10.0 * (before - after)
    near = 1.0 if after < 0.03 else 0.0
    return progress + 0.2 * reach + near, {"progress": progress, "reach": reach, "near": near}
'''


@pytest.fixture(scope="session")
def push_reward_file(tmp_path_factory):
    """Path of a reward for push, written by hand in the dialect."""
    path = tmp_path_factory.mktemp("reward") / "push.py"
    path.write_text(PUSH_REWARD, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def push_dataset(tmp_path_factory, push_reward_file):
    """A ``Dataset`` of 64 scripted push episodes, 50 steps each, labelled ``default``.

    Shared by the whole session: read it, and copy its folder before changing anything.
    """
    from embodied.dataset import Dataset
    from embodied.environments import EnvConfig
    from embodied.stages.collect import CollectConfig, collect
    from embodied.stages.label import LabelConfig, label

    folder = tmp_path_factory.mktemp("data") / "push"
    env = EnvConfig("push", num_envs=64)
    collect(CollectConfig(env, {"name": "scripted"}, str(folder), episodes=64))
    options = {"name": "file", "path": str(push_reward_file)}
    label(folder, LabelConfig(options, {"name": "recorded"}))
    dataset = Dataset(folder)
    assert len(np.unique(dataset.true_reward())) == 2, "some transitions succeed and some do not"
    return dataset


@pytest.fixture(
    params=[
        "cpu",
        pytest.param(
            "cuda",
            marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU"),
        ),
    ]
)
def device(request):
    """Every device that a learner runs on."""
    return request.param


@pytest.fixture(scope="session")
def random_source():
    """Makes a ``Source`` of random episodes; every second one ends in a terminal state."""

    def make(lengths=(6, 9, 5, 12), observation_size=5, action_size=2, seed=0):
        rng = np.random.default_rng(seed)
        count, episodes = sum(lengths), len(lengths)
        ends = np.cumsum(lengths) - 1
        terminated = np.zeros(count, bool)
        terminated[ends[::2]] = True
        return Source(
            observation=rng.uniform(-1, 1, (count + episodes, observation_size)).astype(np.float32),
            action=rng.uniform(-1, 1, (count, action_size)).astype(np.float32),
            terminated=terminated,
            episode_starts=np.append(0, np.cumsum(lengths)[:-1]),
        )

    return make


@pytest.fixture(scope="session")
def trained(tmp_path_factory, push_dataset):
    """A ``RunFolder`` of IQL and its controls, two seeds, trained for a moment on push.

    Shared by the whole session: read it, and copy its folder before changing anything.
    """
    from embodied.config import build, load
    from embodied.stages.train import TrainConfig, train

    values = load("train", [f"data={push_dataset.folder}", "policy.hidden=[16,16]", "videos=false"])
    values |= {"seeds": [0, 1], "steps": 4, "curve_every": 0, "evaluation_episodes": 4}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMBODIED_RUNS", str(tmp_path_factory.mktemp("runs")))
        return train(build(TrainConfig, values))


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 64 KiB; skips where none can be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"no mount command: {error}")
    if done.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def place(tmp_path, monkeypatch, push_dataset):
    """The working folder: a labelled dataset ``data`` lies in it."""
    shutil.copytree(push_dataset.folder, tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EMBODIED_RUNS", raising=False)
    return tmp_path


@pytest.fixture
def run(place, trained):
    """A trained run ``run`` in the working folder."""
    shutil.copytree(trained.path, place / "run")
    return place / "run"


def hashes(place: Path) -> dict[str, str]:
    return {
        str(path.relative_to(place)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in place.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


@pytest.fixture
def refused(place, capsys):
    """Run a command that has to be refused; return the one line that it prints."""

    from embodied.cli import main

    def call(*arguments: str) -> str:
        before = hashes(place)
        capsys.readouterr()
        assert main(arguments) == 2
        told = capsys.readouterr().err
        assert told.count("\n") == 1, told
        assert told.startswith(f"embodied {arguments[0]}: ")
        after = hashes(place)
        assert {name: after.get(name) for name in before} == before
        assert not [name for name in after if "/." in name or name.startswith(".")]
        return told

    return call


class Console:
    """Runs ``python -m embodied`` as a user would, anywhere."""

    def __init__(self) -> None:
        root = str(Path(__file__).resolve().parent.parent)
        own = {key: value for key, value in os.environ.items() if key != "EMBODIED_RUNS"}
        self.environment = {**own, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}

    def __call__(self, *arguments: str, cwd: Path, code: int = 0):
        """Return the finished process, whose exit code has to be ``code``."""
        done = subprocess.run(
            [sys.executable, "-m", "embodied", *arguments],
            capture_output=True,
            text=True,
            cwd=cwd,
            env=self.environment,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return done


@pytest.fixture(scope="session")
def console():
    return Console()
