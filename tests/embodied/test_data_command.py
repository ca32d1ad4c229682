"""``embodied data`` on every format: convert, filter, split, merge, corrupt and info."""

import json
from dataclasses import replace

import numpy as np
import pytest
import yaml

from embodied.cli import main
from embodied.dataset import Dataset
from embodied.errors import UserError
from embodied.formats import open_dataset
from embodied.formats.convert import convert
from embodied.formats.writers import WRITERS, writer
from embodied.labels import write_labels
from embodied.stages import data as stage
from embodied.stages.label import LabelConfig, label
from embodied.transforms import REWARD
from embodied.types import Score
from tests.embodied.formats import lerobot_layout, written

FOREIGN = ("lerobot", "minari", "robomimic")


class Counting:
    """A reward that gives every transition its own number."""

    def score(self, batch):
        total = batch.action.sum(axis=1).astype(np.float32)
        return Score(total, {"sum": total})

    def provenance(self):
        return {"kind": "counting", "instruction": "count the steps"}


@pytest.fixture(name="here")
def _here(tmp_path, monkeypatch):
    """The working folder: ``native`` holds four episodes with a label, two of them successes."""
    monkeypatch.chdir(tmp_path)
    # Files of our own need no process apart.
    monkeypatch.setattr("embodied.formats.opening.convert_apart", convert)
    items = written.episodes()
    for index, item in enumerate(items):
        item.columns["success"][-1] = index % 2 == 0
    writer("native")(tmp_path / "native", written.info(), items)
    write_labels(Dataset(tmp_path / "native"), "mine", Counting())
    return tmp_path


def path_of(name):
    return f"{name}.hdf5" if name == "robomimic" else name


def data(action, *arguments):
    """Run the command as its entry does, without Hydra."""
    pairs = [item.partition("=") for item in arguments if "=" in item]
    values = {key: yaml.safe_load(text) for key, _, text in pairs}
    stage.run(action, [item for item in arguments if "=" not in item], values)


def same(found, expected, but=()):
    assert found.num_episodes == expected.num_episodes
    for index in range(found.num_episodes):
        ours, theirs = found.episode(index), expected.episode(index)
        assert ours.terminated == theirs.terminated
        np.testing.assert_array_equal(ours.observation, theirs.observation, strict=True)
        np.testing.assert_array_equal(ours.action, theirs.action, strict=True)
        for part in ("state", "columns"):
            assert set(getattr(ours, part)) == set(getattr(theirs, part))
            for name, values in getattr(theirs, part).items():
                if name not in but:
                    np.testing.assert_array_equal(getattr(ours, part)[name], values, strict=True)


@pytest.mark.parametrize("name", FOREIGN)
def test_convert_there_and_back_changes_nothing(here, capsys, name):
    data("convert", "native", f"output={path_of(name)}", f"format={name}")
    assert f"4 episodes, 22 transitions, as {name}" in capsys.readouterr().out
    data("convert", path_of(name), "output=back")
    same(Dataset("back"), Dataset("native"))
    told = json.loads((here / "back" / "dataset.json").read_text())["info"]["origin"]
    assert told["action"] == "convert"
    assert told["instruction"] == "push the cube"


def test_info_tells_of_a_foreign_dataset(here, capsys):
    data("convert", "native", "output=foreign", "format=minari")
    capsys.readouterr()
    data("info", "foreign")
    told = capsys.readouterr().out
    assert "push, 4 episodes (1-9 steps), 22 transitions" in told
    assert "state.cube: float32" in told


@pytest.mark.parametrize("name", WRITERS)
def test_filter_reads_and_writes_every_format(here, name):
    source = path_of(name)
    if name == "native":
        source = "native"
    else:
        data("convert", "native", f"output={source}", f"format={name}")
    output = f"new-{path_of(name)}"
    data("filter", source, f"output={output}", f"format={name}", "success=true")
    assert open_dataset(output).episode_lengths.tolist() == [7, 1]


def test_filter_drops_episodes_that_are_not_finite(here):
    items = written.episodes()
    items[1].columns[REWARD][0] = np.nan
    items[3].state["cube"][0, 0] = np.inf
    writer("native")(here / "gaps", written.info(), items)
    data("filter", "gaps", "output=clean")
    assert Dataset("clean").episode_lengths.tolist() == [7, 1]


def test_split_and_merge_lose_nothing(here):
    data("convert", "native", "output=all.hdf5", "format=robomimic")
    data("split", "all.hdf5", "output=part.hdf5", "format=robomimic", "fraction=0.5")
    data("merge", "part-a.hdf5", "part-b.hdf5", "output=whole")
    whole, native = Dataset("whole"), Dataset("native")
    assert sorted(whole.episode_lengths.tolist()) == sorted(native.episode_lengths.tolist())
    np.testing.assert_array_equal(
        np.sort(whole.column("action"), axis=0), np.sort(native.column("action"), axis=0)
    )


@pytest.mark.parametrize("name", ["native", *FOREIGN])
def test_a_label_takes_the_place_of_the_reward(here, name):
    output = f"labelled-{path_of(name)}"
    data("convert", "native", f"output={output}", f"format={name}", "label=mine")
    found, native = open_dataset(output), Dataset("native")
    same(found, native, but=(REWARD,))
    expected = np.asarray(native.column("action")).sum(axis=1)
    np.testing.assert_array_equal(found.column(f"column.{REWARD}"), expected)
    assert found.info.origin["label"] == "mine"
    assert found.info.origin["reward"]["kind"] == "counting"
    if name == "lerobot":
        lerobot_layout.check(here / output)
        assert found.info.origin["instruction"] == "count the steps"


def test_formats_that_ask_for_a_reward_say_where_there_is_none(here, capsys):
    bare = [written.Episode(i.observation, i.action, i.terminated) for i in written.episodes()]
    writer("native")(here / "bare", written.info(), bare)
    data("convert", "bare", "output=zeros", "format=minari")
    assert "no reward was recorded" in capsys.readouterr().out
    data("convert", "bare", "output=none", "format=lerobot")
    assert "no reward" not in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["observation", "action", "reward", "dynamics"])
def test_corrupt_changes_a_share_and_says_so(here, kind):
    data("corrupt", "native", f"kind={kind}", "rate=0.5", "scale=2.0", "seed=3", "output=noisy")
    found, native = Dataset("noisy"), Dataset("native")
    assert found.info.origin["corruption"] == {"kind": kind, "rate": 0.5, "scale": 2.0, "seed": 3}
    ours, theirs = (item.transitions(slice(None)) for item in (found, native))
    parts = {
        "observation": (ours.observation, theirs.observation),
        "action": (ours.action, theirs.action),
        "dynamics": (ours.next_observation, theirs.next_observation),
        "reward": (ours.columns[REWARD], theirs.columns[REWARD]),
    }
    for name, (here_, there) in parts.items():
        changed = (here_ != there).reshape(len(there), -1).any(axis=1).sum()
        assert changed == (11 if name == kind else 0), name


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("convert", "native", "output=x", "format=csv"), "unknown format 'csv'; known: native, "),
        (("convert", "native"), "needs output="),
        (("convert", "native", "output=native"), "native exists already"),
        (("convert", "native", "output=native", "format=lerobot"), "native exists already"),
        (("convert", "native", "output=x", "label=none"), "has no label 'none' (it has: mine)"),
        (("corrupt", "native", "output=x"), "needs kind="),
        (("corrupt", "native", "output=x", "kind=sensor"), "unknown corruption 'sensor'"),
        (("corrupt", "native", "output=x", "kind=action", "rate=2"), "rate between 0 and 1"),
        (("corrupt", "native", "native", "output=x", "kind=action"), "takes one dataset, not 2"),
        (("convert", "native", "output=x", "format=robomimic"), "end the output with .hdf5"),
    ],
)
def test_mistakes_are_told_in_one_line(here, capsys, arguments, told):
    before = set(here.rglob("*"))
    assert main(("data", *arguments)) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert set(here.rglob("*")) == before


def test_it_holds_one_episode_at_a_time(here, monkeypatch):
    """Episodes are drawn when they are written, so the size of a dataset does not matter."""
    drawn, written_ = [], []
    real = Dataset.episode

    def episode(self, index):
        assert len(drawn) - len(written_) <= 1
        drawn.append(index)
        return real(self, index)

    def consume(path, info, episodes):
        for item in episodes:
            written_.append(item)

    monkeypatch.setattr(Dataset, "episode", episode)
    monkeypatch.setattr("embodied.stages.data.writer", lambda name: consume)
    monkeypatch.setattr("embodied.stages.data.info", lambda dataset: "")
    monkeypatch.setattr("embodied.stages.data.Dataset", lambda path: None)
    data("merge", "native", "native", "output=x")
    assert len(written_) == 8


def test_merge_keeps_common_columns_and_bounds_around_all(here, capsys):
    info = written.info()
    size = info.action.shape[0]
    wide = replace(info.action, low=(-9.0,) * size, high=(0.5,) * size, meaning="Another.")
    bare = [
        replace(item, columns={k: v for k, v in item.columns.items() if k != "success"}, state={})
        for item in written.episodes()
    ]
    writer("native")(here / "bare", replace(info, environment="", action=wide, fields={}), bare)
    data("merge", "bare", "native", "output=both")
    both = Dataset("both")
    assert both.num_episodes == 8
    assert both.info.environment == info.environment
    high = np.maximum(0.5, info.action.high).tolist()
    assert (list(both.info.action.low), list(both.info.action.high)) == ([-9.0] * size, high)
    assert (both.info.action.meaning, dict(both.info.fields)) == ("", {})
    told = capsys.readouterr().out
    assert "left out, as not every dataset has it: column.success, state." in told
    assert not both.has("column.success")


def test_a_link_where_a_label_is_made_is_removed_and_not_followed(here):
    (here / "other").mkdir()
    (here / "other" / "kept.txt").write_text("mine")
    making = here / "native" / "labels" / "default.making"
    for target in (here / "other", here / "nowhere"):
        making.symlink_to(target)
        with pytest.raises(UserError):
            label("native", LabelConfig(reward={"name": "no such reward"}, provider={}))
        assert not making.exists()
        assert not making.is_symlink()
    assert (here / "other" / "kept.txt").read_text() == "mine"
