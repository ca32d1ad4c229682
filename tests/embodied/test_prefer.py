"""``embodied prefer``: which clips are drawn, what is refused, the command as a user runs it."""

import json
import re
import signal
import subprocess
import sys
import urllib.request

import numpy as np
import pytest

from embodied.cli import main
from embodied.config import load
from embodied.dataset import Dataset
from embodied.environments import require_task
from embodied.errors import UserError
from embodied.frames import make_frames
from embodied.stages.prefer import Clips, PreferConfig, draw_pairs, prefer
from rewards.label_store import LabelStore


@pytest.fixture(scope="session", name="poles")
def _poles(tmp_path_factory):
    """The folder of 6 CartPole episodes of 30 steps."""
    folder = tmp_path_factory.mktemp("poles") / "data"
    small = ("env=cartpole", "env.max_steps=30", "behaviour=cartpole_scripted")
    assert main(["collect", *small, "episodes=6", f"output={folder}"]) == 0
    return folder


# ---- the clips -----------------------------------------------------------------------------------


def test_pairs_differ_lie_within_episodes_and_reach_all_of_them(poles):
    dataset = Dataset(poles)
    pairs = draw_pairs(dataset, 20, 200, seed=0)
    assert len({frozenset(pair) for pair in pairs}) == 200
    firsts = np.array(pairs)
    assert (firsts[:, 0] != firsts[:, 1]).all()
    assert set(np.unique(firsts // 30)) == set(range(6))
    assert set(np.unique(firsts % 30)) == set(range(11)), "all places, and none over an end"
    assert draw_pairs(dataset, 20, 50, seed=0) == pairs[:50]
    assert draw_pairs(dataset, 20, 50, seed=1) != pairs[:50]


def test_a_clip_shows_what_its_transitions_lead_to(poles):
    dataset, frames = Dataset(poles), make_frames(require_task("cartpole"), (32, 32))
    clips = Clips(dataset, 5, frames)
    name = clips.name(30 + 25)
    assert name == f"{dataset.digest[:16]}:55:5"
    states = {name: rows[26:31] for name, rows in dataset.episode(1).state.items()}
    np.testing.assert_array_equal(clips(name), frames(states))


def test_the_page_is_given_what_was_asked_for(poles, tmp_path, monkeypatch):
    given = {}

    def serve(instruction, pairs, frames, store, **options):
        given.update(options, instruction=instruction, pairs=pairs, store=store)
        assert frames(pairs[0][0]).shape == (10, 480, 480, 3)
        return {}

    monkeypatch.setattr("rewards.preferences.page.serve", serve)
    monkeypatch.setenv("EMBODIED_RUNS", str(tmp_path))
    told = prefer(poles, PreferConfig(length=10, pairs=4, seed=3))
    assert told == {"store": str(tmp_path / "labels.sqlite")}
    assert given["instruction"] == "balance the pole upright on the cart"
    assert (len(given["pairs"]), given["seed"], given["host"]) == (4, 3, "127.0.0.1")
    assert (given["fps"], given["speed"]) == (5.0, 0.1), "two seconds, whatever the control rate"
    prefer(poles, PreferConfig(length=10, pairs=4, fps=50.0, instruction=" hold it still "))
    assert (given["instruction"], given["speed"]) == ("hold it still", 1.0)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        *(("length=31", "the longest has 30"), ("length=0", "at least 1")),
        *(("length=30", "enough for 7 pairs"), ("pairs=0", "at least 1")),
        *(("seed=-1", "at least 0"), ("attention_every=1", "asks nothing new")),
        *(("attention_every=-1", "at least 0"), ("fps=0", "more than 0"), ("fps=1e9", "at most")),
        *(("port=65536", "port is 65536"), ("port=-1", "port is -1"), ("host=0.0.0.0", "name one")),
        *(("instruction=' '", "is empty"), ("store=data/dataset.json", "not a label store")),
        ("+clips=3", "unknown config key"),
    ],
)
def test_mistakes_are_told_in_one_line(poles, tmp_path, monkeypatch, capsys, override, told):
    monkeypatch.chdir(poles.parent)
    monkeypatch.setenv("EMBODIED_RUNS", str(tmp_path))
    capsys.readouterr()
    assert main(["prefer", "data", override]) == 2
    line = capsys.readouterr().err
    assert line.startswith("embodied prefer: ")
    assert line.count("\n") == 1
    assert told in line


def test_data_that_nobody_can_draw_are_refused(poles, monkeypatch):
    monkeypatch.setattr("embodied.stages.prefer.make_frames", lambda *arguments: None)
    with pytest.raises(UserError, match="cannot be drawn"):
        prefer(poles, PreferConfig(pairs=4))


def test_the_file_holds_the_defaults():
    assert PreferConfig(**load("prefer", [])) == PreferConfig()


# ---- the command ---------------------------------------------------------------------------------


class Command:
    """A running ``embodied prefer`` and what its page would send."""

    def __init__(self, console, folder, *overrides):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "embodied", "prefer", "data", *overrides],
            cwd=folder,
            env={**console.environment, "EMBODIED_RUNS": str(folder / "runs")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        line = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/[\w-]{20,}/", line)
        assert found, line + self.process.communicate()[1]
        self.url = found[0]

    def ask(self, path, value=None):
        """Return what the server answers, as JSON."""
        body = None if value is None else json.dumps(value).encode()
        request = urllib.request.Request(
            self.url + path, body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as reply:
            return json.loads(reply.read())

    def answer(self, count):
        """Answer that many pairs and return what the page is told."""
        for _ in range(count):
            position = self.ask("state")["position"]
            told = self.ask("answer", {"position": position, "pressed": "left", "seconds": 1})
        return told


def test_a_sitting_is_broken_off_with_ctrl_c_and_gone_on_with(poles, console):
    few = ("pairs=6", "attention_every=3", "length=4")
    command = Command(console, poles.parent, *few)
    assert command.answer(2)["position"] == 2
    command.process.send_signal(signal.SIGINT)
    assert command.process.communicate()[1].strip() == "interrupted"
    assert command.process.returncode == 130
    again = Command(console, poles.parent, *few)
    assert again.ask("state")["position"] == 2
    assert again.answer(4)["state"] == "done"
    again.ask("finish", {})
    told, wrong = again.process.communicate()
    assert again.process.returncode == 0, wrong
    assert "4 preferences, 0 ties, 0 skipped" in told
    assert "0 of 2 pairs that were shown again agree" in told
    store = LabelStore(poles.parent / "runs" / "labels.sqlite")
    assert sum(item.calls for item in store.spent().values()) == 6
    store.close()
