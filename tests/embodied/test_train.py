"""Training end to end on a small dataset: what it leaves, and that what cannot work is refused."""

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from embodied import cli
from embodied.config import build, load
from embodied.dataset import Dataset
from embodied.engine.precision import has_fast_bf16
from embodied.environments import EnvConfig
from embodied.errors import UserError
from embodied.labels import label_path
from embodied.runs import RunFolder, read_metrics
from embodied.stages.label import LabelConfig, label
from embodied.stages.labelled import DataConfig
from embodied.stages.train import TrainConfig, resume, train
from policies.package import load_package

SMALL = {"name": "iql", "hidden": [16, 16], "batch_size": 32}
ROWS = ("behaviour", "bc", "constant_reward", "true_reward")


def test_a_run_leaves_everything_it_promises(config, packages):
    run = train(replace(config, curve_every=100, curve_episodes=2))
    result = json.loads((run.path / "result.json").read_text())
    promised = "schema_version task instruction policy reward seeds episodes steps wall_s"
    assert {*promised.split(), "success", "return", "controls"} <= result.keys()
    assert (result["task"], result["policy"]) == ("push", "iql")
    assert (result["seeds"], result["episodes"], result["steps"]) == ([0, 1], 3, 100)
    assert set(result["controls"]) == set(ROWS)
    for name, row in {"policy": result, **result["controls"]}.items():
        for kind, keys in (("success", {"mean", "ci95", "per_seed"}), ("return", {"iqm"})):
            found = row[kind]
            assert keys <= found.keys(), (name, kind)
            assert found["ci95"][0] <= found["mean"] <= found["ci95"][1]
            assert len(found["per_seed"]) == (1 if name == "behaviour" else 2)
    places = {"policy", *(f"controls/{arm}" for arm in ROWS[1:])}
    assert set(packages(run)) == {f"{place}/{seed}" for place in places for seed in (0, 1)}
    for name in ("config.yaml", "manifest.json", "report.html", "evaluations/0/result.json"):
        assert (run.path / name).is_file(), name
    assert (run.path / "reward" / "reward.py").is_file()
    manifest = run.manifest
    assert manifest["data"][0]["sha256"] == Dataset(config.data.paths[0]).digest
    lines = read_metrics(run)
    assert [line["step"] for line in lines] == [64, 100], "blocks of 64 updates"
    assert "policy/evaluation/success" in lines[-1]
    assert len(lines[-1]["bc/actor/loss"]) == 2


def test_the_networks_differ_by_seed_and_by_reward(config, packages):
    found = packages(train(config))
    assert len(set(found.values())) == len(found) == 8


def test_packages_know_what_they_are(config, push_dataset):
    run = train(replace(config, steps=50))
    policy = load_package(run.path / "policy" / "1").description
    assert (policy["algorithm"], policy["seed"], policy["control_hz"]) == ("iql", 1, 10.0)
    assert policy["data"] == push_dataset.digest
    assert policy["reward"]["kind"] == "file"
    assert policy["action"]["unit"] == "rad"
    control = load_package(run.path / "controls" / "bc" / "0").description
    assert (control["algorithm"], control["reward"]) == ("bc", {"kind": "bc"})


def test_the_same_config_gives_the_same_weights(config, packages):
    config = replace(config, controls=False)
    assert packages(train(config)) == packages(train(config))


def test_training_bc_needs_no_bc_control(config, packages):
    run = train(replace(config, policy={**SMALL, "name": "bc"}, steps=50))
    result = json.loads((run.path / "result.json").read_text())
    assert result["policy"] == "bc"
    assert result["controls"]["bc"] is None
    assert set(packages(run)) == {"policy/0", "policy/1"}


def test_seeds_can_have_a_dataset_each(config, copied, push_dataset):
    paths = (str(push_dataset.folder), str(copied.folder))
    run = train(replace(config, data=DataConfig(paths), steps=50, controls=False))
    assert [item["path"] for item in run.manifest["data"]] == list(paths)


def test_curves_are_evaluated_at_their_own_pace(config):
    run = train(replace(config, log_every=100, curve_every=50, curve_episodes=1, controls=False))
    lines = read_metrics(run)
    assert [line["step"] for line in lines if "policy/evaluation/success" in line] == [64, 100], (
        "blocks of 64 updates"
    )


def test_bf16_products_train(config, packages):
    if not has_fast_bf16():
        pytest.skip("bf16 products take no effect on this processor")
    policy = {**SMALL, "hidden": [64, 64], "batch_size": 64}
    plain = replace(config, policy=policy, controls=False, steps=50)
    run = train(replace(plain, matmul_precision="bf16"))
    assert run.manifest["matmul_precision"] == "bf16"
    assert packages(run) != packages(train(plain))


@pytest.mark.parametrize("policy", ["td3bc", "cql"])
def test_every_algorithm_trains_evaluates_and_goes_on(config, packages, policy):
    small = {**SMALL, "name": policy} | ({"samples": 2} if policy == "cql" else {})
    run = train(replace(config, policy=small, controls=False, steps=100))
    result = json.loads((run.path / "result.json").read_text())
    assert (result["policy"], result["seeds"]) == (policy, [0, 1])
    before = packages(run)
    assert set(before) == {"policy/0", "policy/1"}
    for path in (run.path / "policy", run.path / "evaluations"):
        shutil.rmtree(path)
    sorted((run.path / "checkpoints").iterdir())[-1].unlink()
    assert packages(resume(str(run.path))) == before


def test_a_sweep_over_seeds_is_one_program(config, packages, runs_here, push_dataset):
    """Two expectiles on one seed each are what two trainings give; from the command line."""
    overrides = [
        *("env=push", "env.max_steps=10", f"data={push_dataset.folder}", "threads=1", "steps=50"),
        *("policy.hidden=[16,16]", "policy.batch_size=32", "seeds=[0,1]", "curve_every=0"),
        *("policy.expectile=[0.7,0.9]", "evaluation_episodes=3", "videos=false", "controls=false"),
    ]
    assert cli.main(["train", *overrides]) == 0
    swept = RunFolder.open(next(runs_here.iterdir()))
    values = build(TrainConfig, load("train", overrides)).policy
    assert values["expectile"] == [0.7, 0.9]
    solo = replace(
        config, seeds=(1,), policy={**values, "expectile": 0.9}, steps=50, controls=False
    )
    expected = load_package(train(solo).path / "policy" / "1").weights
    found = load_package(swept.path / "policy" / "1").weights
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-4, atol=1e-5)


# --- what cannot work -------------------------------------------------------------------------


def test_nan_rewards_are_refused_and_leave_no_run(config, copied, tmp_path):
    path = label_path(copied, "default")
    table = pq.read_table(path)
    values = table.column("reward").to_numpy().copy()
    values[17] = np.nan
    place = table.schema.get_field_index("reward")
    pq.write_table(table.set_column(place, table.schema.field(place), [values]), path)
    with pytest.raises(UserError, match="hold NaN"):
        train(replace(config, data=DataConfig((str(copied.folder),))))
    assert not (tmp_path / "runs").exists()


def test_a_diverged_learner_stops_before_a_checkpoint_of_it(config, tmp_path):
    """An infinite weight in the first block: no log line is due then, a checkpoint is."""
    policy = {**SMALL, "learning_rate": 1e30}
    wild = replace(config, policy=policy, log_every=100, controls=False)
    with pytest.raises(UserError, match="became NaN or infinite"):
        train(wild)
    run = RunFolder.open(next((tmp_path / "runs").iterdir()))
    assert not list(run.path.glob("checkpoints/*"))
    assert read_metrics(run) == []


BAD = {
    "no steps": ({"steps": 0}, "steps is 0"),
    "no seeds": ({"seeds": ()}, "at least one"),
    "a seed twice": ({"seeds": (1, 1)}, "twice"),
    "unknown precision": ({"matmul_precision": "fp8"}, "float32 or bf16"),
    "unknown policy": ({"policy": {"name": "dqn"}}, "unknown policy 'dqn'"),
    "unknown key": ({"policy": {**SMALL, "gamma": 0.9}}, "policy.gamma"),
    "no batch": ({"policy": {**SMALL, "batch_size": 0}}, "must be positive"),
    "discount": ({"policy": {**SMALL, "discount": 1.1}}, "between 0 and 1"),
    "a sweep for other seeds": (
        {"policy": {**SMALL, "expectile": [0.7, 0.8, 0.9]}},
        "policy.expectile lists 3 values for 2 seeds",
    ),
    "expectile": ({"policy": {**SMALL, "expectile": -0.1}}, "between 0 and 1"),
    "learning rate NaN": ({"policy": {**SMALL, "learning_rate": math.nan}}, "finite number"),
    "no layer width": ({"policy": {**SMALL, "hidden": [16, 0]}}, "must be positive"),
    "other environment": ({"env": EnvConfig("reach")}, "say env=push"),
    "datasets for seeds": ({"seeds": (0, 1, 2)}, "2 datasets for 3 seeds"),
    "unknown label": ({"label": "other"}, "has no label 'other'"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD)
def test_what_cannot_work_is_refused_in_one_line(config, push_dataset, tmp_path, change, message):
    change = dict(change)
    paths = (str(push_dataset.folder),) * (2 if "datasets" in message else 1)
    data = DataConfig(paths, change.pop("label", "default"))
    with pytest.raises(UserError, match=message) as caught:
        train(replace(config, data=data, **change))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists(), "nothing was written"


def test_a_gpu_that_is_not_there_is_refused(config, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match="use device=cpu"):
        train(replace(config, device="cuda"))


def test_datasets_of_different_rewards_are_refused(config, copied, push_dataset):
    label(copied.folder, LabelConfig({"name": "constant", "value": 1.0}, {}))
    paths = (str(push_dataset.folder), str(copied.folder))
    with pytest.raises(UserError, match="different rewards"):
        train(replace(config, data=DataConfig(paths)))


@pytest.mark.parametrize("bounds", [None, [-1.0] * 6, [0.15] * 6], ids=["none", "one", "empty"])
def test_a_dataset_without_an_action_range_is_refused(config, copied, bounds):
    path = copied.folder / "dataset.json"
    values = json.loads(path.read_text())
    values["info"]["action"]["low"] = bounds
    values["info"]["action"]["high"] = bounds
    path.write_text(json.dumps(values))
    label(copied.folder, LabelConfig({"name": "constant", "value": 1.0}, {}))
    with pytest.raises(UserError, match="finite action range"):
        train(replace(config, data=DataConfig((str(copied.folder),))))
