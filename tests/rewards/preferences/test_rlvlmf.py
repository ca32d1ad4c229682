"""From unlabelled transitions to a reward: offline with the oracle, kept and loaded, and online."""

import json

import numpy as np
import pytest

from embodied.config import build, load
from embodied.environments import EnvConfig
from embodied.errors import UserError
from embodied.files import read_json
from embodied.formats import open_dataset
from embodied.labels import read_labels
from embodied.preferences import read_pairs, segment_name
from embodied.registry import resolve
from embodied.stages.collect import CollectConfig, collect
from embodied.stages.label import LabelConfig, label
from embodied.stages.prefer import draw_pairs
from embodied.stages.reward import make_reward, sample_transitions
from rewards.gate.correlation import rank_correlation
from rewards.label_records import Answer
from rewards.label_store import LabelStore
from rewards.preferences import rlvlmf
from rewards.preferences.person import PersonAnswer, PersonSource
from rewards.preferences.source import Comparison, Side

SMALL = {"pairs": 120, "epochs": 30, "members": 2, "drop_alike": False}


@pytest.fixture(autouse=True)
def _runs(tmp_path, monkeypatch):
    monkeypatch.setenv("EMBODIED_RUNS", str(tmp_path / "runs"))


@pytest.fixture(name="sample", scope="module")
def _sample():
    return sample_transitions(EnvConfig("cartpole", num_envs=8), 8, seed=0)


def made(sample, folder, name="rlvlmf", **options):
    config = {"name": name, "source": "oracle", **SMALL, **options}
    return make_reward(config, {}, folder, resolve("task", "cartpole")(), sample)


def test_a_reward_follows_the_oracle_and_says_where_it_came_from(sample, tmp_path):
    reward = made(sample, tmp_path / "reward")
    score = reward.score(sample)
    assert score.total.shape == (len(sample),)
    assert np.abs(score.terms["mean"]).max() <= 1
    truth = -np.abs(sample.next_state["pole_angle"])
    assert rank_correlation(score.total, truth) > 0.6
    told = read_json(tmp_path / "reward" / "provenance.json")
    assert told["kind"] == "preferences"
    assert told["source"] == "oracle"
    assert told["instruction"] == "balance the pole upright on the cart"
    measured = read_json(tmp_path / "reward" / "diagnostics.json")["preferences"]
    assert measured["label_accuracy"] == 1.0
    assert measured["true_pair_accuracy"] > 0.8
    assert measured["asked"] == 120


def test_it_is_loaded_as_it_was_kept_and_a_changed_one_is_refused(sample, tmp_path):
    folder = tmp_path / "run" / "reward"
    first = made(sample, folder)
    task = resolve("task", "cartpole")()
    config = {"name": "saved", "path": str(tmp_path / "run")}
    again = make_reward(config, {}, tmp_path / "copy", task, sample)
    np.testing.assert_array_equal(again.score(sample).total, first.score(sample).total)
    assert (tmp_path / "copy" / "reward_model.safetensors").is_file()
    with pytest.raises(UserError, match="not for reach"):
        make_reward(config, {}, tmp_path / "copy", resolve("task", "reach")(), None)
    weights = folder / "reward_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match="was changed"):
        make_reward(config, {}, tmp_path / "copy", task, sample)


def test_labels_are_asked_once_for_all_runs(sample, tmp_path):
    first, again = (made(sample, tmp_path / name) for name in "ab")
    np.testing.assert_array_equal(first.score(sample).total, again.score(sample).total)
    (spent,) = read_json(tmp_path / "b" / "diagnostics.json")["preferences"][
        "spent_in_this_store"
    ].values()
    assert spent["calls"] <= 120


@pytest.mark.parametrize("choice", ["disagreement", "entropy"])
def test_later_sessions_choose_their_pairs(choice, sample, tmp_path):
    made(sample, tmp_path / "reward", sessions=3, choice=choice)
    measured = read_json(tmp_path / "reward" / "diagnostics.json")["preferences"]
    assert measured["asked"] == 120


def test_noise_and_silence_are_counted(sample, tmp_path):
    made(sample, tmp_path / "reward", profile="drawer", pairs=400)
    measured = read_json(tmp_path / "reward" / "diagnostics.json")["preferences"]
    assert measured["said"]["unsure"] > 20
    assert 0.55 < measured["label_accuracy"] < 0.85
    by_decile = measured["labels_by_decile"]
    assert by_decile["right"][-1] > by_decile["right"][0]


def test_networks_can_read_pictures(sample, tmp_path):
    reward = made(sample, tmp_path / "reward", features="cnn", pairs=40, epochs=2)
    few = sample_transitions(EnvConfig("cartpole", num_envs=2), 2, seed=1)
    assert np.isfinite(reward.score(few).total).all()
    config = {"name": "saved", "path": str(tmp_path)}
    again = make_reward(config, {}, tmp_path / "reward", resolve("task", "cartpole")(), few)
    np.testing.assert_array_equal(again.score(few).total, reward.score(few).total)


def test_uncertainty_is_taken_off(sample, tmp_path):
    plain, careful = (
        made(sample, tmp_path / str(weight), uncertainty_weight=weight).score(sample)
        for weight in (0.0, 2.0)
    )
    assert (careful.total <= plain.total + 1e-6).all()
    np.testing.assert_allclose(careful.terms["doubt"] + careful.terms["mean"], careful.total)
    assert careful.terms["doubt"].min() < 0


def test_mistakes_are_told(sample, tmp_path):
    for options, words in (
        ({"source": "stars"}, "unknown source"),
        ({"features": "smell"}, "unknown features"),
        ({"profile": "perfect"}, "unknown noise profile"),
        ({"choice": "best", "sessions": 2}, "unknown choice"),
    ):
        with pytest.raises(UserError, match=words):
            made(sample, tmp_path / "reward", **options)
    with pytest.raises(UserError, match="needs transitions"):
        made(None, tmp_path / "reward")


def test_the_configs_are_what_the_makers_take():
    for name in ("rlvlmf", "rlvlmf_online"):
        values = load("label", [f"reward={name}"])["reward"]
        assert values["name"] == name
        assert json.dumps(values)


# ---- segments of a dataset -----------------------------------------------------------------------


@pytest.fixture(name="data", scope="module")
def _data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "cartpole"
    env = EnvConfig("cartpole", num_envs=4, max_steps=30)
    collect(CollectConfig(env, {"name": "cartpole_scripted"}, str(folder), episodes=12))
    return folder


def labelled(data, name, **options):
    given = [f"reward.{key}={value}" for key, value in {**SMALL, **options}.items()]
    values = load("label", ["reward=rlvlmf", *given, f"label={name}"])
    label(data, build(LabelConfig, values))
    return open_dataset(data)


def test_segments_are_compared_and_their_pairs_are_kept_for_other_learners(data):
    dataset = labelled(data, "segments", source="oracle", segment=5)
    pairs, told = read_pairs(dataset, "segments")
    assert told["preferences"]["source"] == "oracle"
    assert set(pairs.length) == {5}
    assert 80 < len(pairs) <= 120
    truth = -np.abs(np.asarray(dataset.transitions(slice(None)).next_state["pole_angle"]))
    sums = [truth[starts[:, None] + np.arange(5)].sum(1) for starts in (pairs.first, pairs.second)]
    assert ((sums[0] > sums[1]) == (pairs.preference == 1)).all()
    reward, _ = read_labels(dataset, "segments")
    assert rank_correlation(reward, truth) > 0.5


def test_what_a_person_said_becomes_a_reward(data):
    with pytest.raises(UserError, match="embodied prefer"):
        labelled(data, "person", source="person", segment=6)
    dataset = open_dataset(data)
    pairs = draw_pairs(dataset, 6, 60, seed=0)
    truth = -np.abs(np.asarray(dataset.transitions(slice(None)).next_state["pole_angle"]))
    store = LabelStore(rlvlmf.store_path())
    source = PersonSource()
    nothing = np.zeros((1, 2, 2, 3), np.uint8)
    for first, second in pairs:
        sides = [Side(segment_name(dataset, start, 6), nothing) for start in (first, second)]
        request = source.request(
            Comparison("balance the pole upright on the cart", sides[0], sides[1])
        )
        (key,) = store.add([request])
        better = truth[first : first + 6].sum() > truth[second : second + 6].sum()
        for choice in ("tie", "first" if better else "second"):  # the last answer counts
            store.keep(key, Answer(PersonAnswer(choice, "first", 1.0).raw()))
    store.close()
    dataset = labelled(data, "person", source="person", segment=6, epochs=60)
    reward, told = read_labels(dataset, "person")
    assert told["reward"]["source"] == "person"
    assert told["reward"]["pairs"] == 60
    assert rank_correlation(reward, truth) > 0.3
    assert len(read_pairs(dataset, "person")[0]) == 60
