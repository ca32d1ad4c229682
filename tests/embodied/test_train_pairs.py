"""Training from labelled pairs of segments, end to end: CartPole, random behaviour, CPL."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from embodied import cli
from embodied.dataset import Dataset
from embodied.environments import EnvConfig
from embodied.errors import UserError
from embodied.preferences import PreferencePairs, pairs_path, write_pairs
from embodied.runs import RunFolder, read_metrics
from embodied.stages.collect import CollectConfig, collect
from embodied.stages.evaluate import EvaluateConfig, evaluate
from embodied.stages.labelled import DataConfig
from embodied.stages.pair_arms import make_pair_groups, open_pairs
from embodied.stages.train import TrainConfig, resume, train
from policies.package import load_package

ENV = EnvConfig("cartpole", max_steps=30)
SMALL = {"name": "cpl", "hidden": [16, 16], "batch_size": 8, "learning_rate": 1e-3}
TOLD = {"kind": "angle", "instruction": "keep it up"}


def label_by_angle(dataset, name="default", provenance=TOLD, seed=0, tie=False):
    """Pairs of segments of five transitions; the one whose pole is more upright is preferred."""
    rng, length = np.random.default_rng(seed), 5
    episode = rng.integers(dataset.num_episodes, size=(2, 50))
    places = rng.integers(dataset.episode_lengths[episode] - length + 1)
    first, second = dataset.episode_starts[episode] + places
    angle = dataset.column("state.pole_angle")[dataset.rows(slice(None)) + 1]
    reward = np.append(0.0, np.cumsum(-np.abs(angle)))
    returns = [reward[at + length] - reward[at] for at in (first, second)]
    preference = np.full(50, 0.5) if tie else returns[0] > returns[1]
    lengths = np.full(50, length)
    pairs = PreferencePairs(first, second, lengths, preference.astype(np.float32))
    write_pairs(dataset, name, pairs, provenance)
    return pairs


@pytest.fixture(scope="module", name="collected")
def _collected(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cartpole") / "data"
    collect(CollectConfig(replace(ENV, num_envs=8), {"name": "random"}, str(folder), episodes=16))
    label_by_angle(Dataset(folder))
    return Dataset(folder)


@pytest.fixture(name="dataset")
def _dataset(collected, tmp_path):
    """A copy that a test may change."""
    return Dataset(shutil.copytree(collected.folder, tmp_path / "copy"))


@pytest.fixture(name="pair_config")
def _pair_config(collected, runs_here):
    return TrainConfig(
        env=ENV,
        data=DataConfig((str(collected.folder),)),
        policy=SMALL,
        seeds=(0, 1),
        steps=100,
        threads=1,
        log_every=50,
        checkpoint_every=50,
        curve_every=100,
        curve_episodes=2,
        evaluation_episodes=3,
        videos=False,
    )


def test_the_command_trains_the_policy_and_its_controls(collected, runs_here, capsys):
    """What a user types, and what it leaves."""
    overrides = [
        *("policy=cpl", "env=cartpole", "env.max_steps=30", f"data={collected.folder}"),
        *("policy.hidden=[16,16]", "policy.batch_size=8", "policy.learning_rate=[1e-3,2e-3]"),
        *("seeds=[0,1]", "steps=100", "threads=1", "curve_every=100", "curve_episodes=2"),
        *("log_every=50", "evaluation_episodes=3", "videos=false"),
    ]
    assert cli.main(["train", *overrides]) == 0
    run = RunFolder.open(next(runs_here.iterdir()))
    shown = capsys.readouterr().out
    assert "cpl (this reward)" in shown
    assert "\nsft " in shown
    result = json.loads((run.path / "result.json").read_text())
    assert (result["policy"], result["instruction"]) == ("cpl", "keep it up")
    assert (result["task"], result["seeds"], result["steps"]) == ("cartpole", [0, 1], 100)
    assert result["reward"]["kind"] == "preferences"
    assert result["reward"]["source"] == TOLD
    assert result["reward"]["pairs"] == [50]
    present = {key for key, row in result["controls"].items() if row}
    assert present == {"behaviour", "bc", "sft"}
    for name in ("bc", "sft"):
        assert len(result["controls"][name]["return"]["per_seed"]) == 2
    assert "Cloning of what is preferred" in (run.path / "report.html").read_text()
    last = read_metrics(run)[-1]
    assert last["step"] == 100
    assert {len(last[f"policy/actor/{key}"]) for key in ("contrast", "cloning", "accuracy")} == {2}
    assert {"bc/actor/loss", "sft/actor/loss", "sft/evaluation/success"} <= last.keys()
    assert cli.main(["compare", str(run.path), f"{run.path}:sft"]) == 0


def test_packages_know_what_they_are_and_differ(pair_config, packages):
    run = train(pair_config)
    found = packages(run)
    assert set(found) == {
        f"{place}/{seed}" for place in ("policy", "controls/bc", "controls/sft") for seed in (0, 1)
    }
    assert len(set(found.values())) == 6
    policy = load_package(run.path / "policy" / "1").description
    assert (policy["algorithm"], policy["head"], policy["seed"]) == ("cpl", "deterministic", 1)
    assert policy["reward"]["kind"] == "preferences"
    control = load_package(run.path / "controls" / "sft" / "0").description
    assert (control["algorithm"], control["reward"]) == ("bc", {"kind": "sft"})
    folder = evaluate(run, EvaluateConfig(episodes=2, videos=False))
    assert json.loads((folder / "result.json").read_text())["controls"]["sft"]["return"]


@pytest.mark.parametrize("left", [64, 0])  # 64 lies behind the end of cloning, which is at 40
def test_a_training_cut_short_goes_on_to_the_same_weights(pair_config, packages, left):
    run = train(replace(pair_config, curve_every=0))
    before = packages(run)
    for path in (run.path / "checkpoints").glob("step_*"):
        if int(path.stem.removeprefix("step_")) > left:
            path.unlink()
    for name in ("policy", "controls", "evaluations"):
        shutil.rmtree(run.path / name)
    assert resume(str(run.path)) == run
    assert packages(run) == before


def test_controls_can_be_left_out_and_seeds_have_a_dataset_each(pair_config, dataset, packages):
    label_by_angle(dataset, seed=1)
    paths = (*pair_config.data.paths, str(dataset.folder))
    config = replace(pair_config, controls=False, data=DataConfig(paths), curve_every=0)
    run = train(config)
    assert set(packages(run)) == {"policy/0", "policy/1"}
    result = json.loads((run.path / "result.json").read_text())
    assert "sft" not in result["controls"]
    assert len(set(result["reward"]["pairs_sha256"])) == 2
    for seed, path in enumerate(paths):  # a seed's weights are those of its own pairs alone
        alone = train(replace(config, data=DataConfig((path,))))
        one, two = (load_package(item.path / "policy" / str(seed)).weights for item in (run, alone))
        for key, value in one.items():
            np.testing.assert_allclose(value, two[key], rtol=1e-4, atol=1e-6)


def test_the_controls_see_everything_and_the_preferred_segments(pair_config, collected):
    _, pairs, _ = open_pairs(pair_config.data, ENV, (0, 1))
    policy, clones = make_pair_groups(
        SMALL,
        [collected],
        pairs,
        controls=True,
        seeds=(0, 1),
        steps=20,
        device="cpu",
        compiled=False,
    )
    assert (policy.algorithm, policy.arms) == ("cpl", ("policy",))
    assert (clones.algorithm, clones.arms) == ("bc", ("bc", "sft"))
    assert clones.learner.seeds == [0, 1, 0, 1]
    assert clones.learner.batch_size == 256, "not CPL's, which counts pairs"
    assert clones.learner.actor_weights()["actor.0.weight"].shape == (4, 4, 16)
    in_turn = torch.arange(len(collected)).expand(1, 4, -1)
    (block,) = clones.data.blocks([in_turn])
    seen = [len(block.observation[0, arm].unique(dim=0)) for arm in (0, 2)]
    rows = collected.rows(np.unique(pairs[0].preferred()))
    expected = [collected.column("observation")[at] for at in (collected.rows(slice(None)), rows)]
    assert seen == [len(np.unique(item, axis=0)) for item in expected]
    assert seen[1] < seen[0]


# --- what cannot work -------------------------------------------------------------------------


def refused(config, told, runs_here):
    with pytest.raises(UserError, match=told) as caught:
        train(config)
    assert "\n" not in str(caught.value)
    assert not runs_here.exists()


def test_data_without_pairs_are_refused_and_leave_no_run(pair_config, collected, runs_here):
    data = DataConfig((str(collected.folder),), label="other")
    told = r"has no labelled pairs 'other' \(it has: default\)"
    refused(replace(pair_config, data=data), told, runs_here)


def test_ties_alone_are_refused(pair_config, dataset, runs_here):
    label_by_angle(dataset, tie=True)
    config = replace(pair_config, data=DataConfig((str(dataset.folder),)))
    refused(config, "are all ties", runs_here)


def test_pairs_that_were_labelled_in_different_ways_are_refused(pair_config, dataset, runs_here):
    label_by_angle(dataset, provenance={**TOLD, "date": "now"})
    paths = (*pair_config.data.paths, str(dataset.folder))
    assert len(open_pairs(DataConfig(paths), ENV, (0, 1))[0]) == 2, "a date is no difference"
    label_by_angle(dataset, provenance={**TOLD, "kind": "person"})
    refused(replace(pair_config, data=DataConfig(paths)), "in different ways", runs_here)


def test_a_training_does_not_go_on_with_other_pairs(pair_config, dataset):
    config = replace(pair_config, data=DataConfig((str(dataset.folder),)), controls=False)
    run = train(config)
    label_by_angle(dataset, seed=1)
    with pytest.raises(UserError, match=r"the reward of .* changed since it began"):
        resume(str(run.path))


def test_a_reward_learner_does_not_take_pairs_for_labels(pair_config, runs_here):
    policy = {"name": "iql", "hidden": [8]}
    refused(replace(pair_config, policy=policy), "has no label 'default'", runs_here)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"bc_steps": 100}, "policy.bc_steps is 100 of 100 updates"),
        ({"conservative_bias": 0.0}, "policy.conservative_bias is 0.0"),
        ({"alpha": -1.0}, "policy.alpha is -1.0; it must be 0 or more"),
        ({"batch_size": 0}, "policy.batch_size is 0; it must be positive"),
        ({"discount": [0.9]}, "policy.discount lists 1 values for 2 seeds"),
        ({"temperature": 1.0}, "unknown config key policy.temperature"),
    ],
)
def test_settings_that_cannot_work_are_refused(pair_config, changes, told, runs_here):
    refused(replace(pair_config, policy={**SMALL, **changes}), told, runs_here)


def test_the_command_says_in_one_line_what_is_wrong(collected, runs_here, dataset, capsys):
    pairs_path(dataset, "default").write_bytes(b"PAR1")
    overrides = ["policy=cpl", "env=cartpole", f"data={dataset.folder}"]
    assert cli.main(["train", *overrides]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "is damaged; have the pairs labelled again" in line
