"""A user's mistake gives exit code 2, one line that says what is wrong, and changes no file."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embodied.cli import check_gl, main

TRAIN = ("train", "data=data", "steps=2", "seeds=[0]", "policy.hidden=[8]", "videos=false")


# ---- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("collect", "output=x", "env=pusch"), "unknown env 'pusch'; available: ant_forward, "),
        (
            ("collect", "output=x", "env.name=pusch"),
            "unknown environment 'pusch'; known: ant_forward, ",
        ),
        (("collect", "output=x", "behaviour=wild"), "unknown behaviour 'wild'; available: "),
        (("collect", "output=x", "behaviour.name=wild"), "unknown behaviour 'wild'; known: "),
        (("collect", "output=x", "+behaviour.speed=3"), "unknown config key behaviour.speed"),
        (("collect", "output=x", "behaviour.noise=loud"), "behaviour.noise needs float"),
        (("collect", "output=x", "behaviour.random=0.9"), "sum to 1"),
        (("collect", "output=x", "behaviour.name=null"), "unknown behaviour 'None'"),
        (("collect", "output=x", "episodes=0"), "episodes is 0"),
        (("collect", "output=x", "episodes=many"), "config key episodes needs int"),
        (("collect", "output=x", "episode=3"), "unknown config key 'episode'"),
        (("collect", "output=x", "env.num_envs=0"), "env.num_envs is 0"),
        (("collect", "output=x", "env.threads=-1"), "threads"),
        (("collect", "output=x", "env.max_steps=0"), "env.max_steps is 0"),
        (("collect", "output=x", "seed=-1"), "seed is -1"),
        (("collect", "output=data"), "data exists already"),
        (("collect", "output=data/dataset.json/x"), "cannot write"),
        (("collect",), "output needs a value"),
        (("collect", "output=x", "env=gymnasium", "env.id=Nothing-v0"), "no environment"),
        (("collect", "output=x", "env=gymnasium", "env.id=os:system"), "module to import"),
        (
            ("collect", "output=x", "env=gymnasium", "env.id=CartPole-v1", "behaviour=random"),
            "not continuous",
        ),
        (
            ("collect", "output=x", "env=gymnasium", "env.id=Pendulum-v1", "episodes=2"),
            "use behaviour=random",
        ),
        (("label", "data", "reward=nice"), "unknown reward 'nice'; available: constant"),
        (("label", "data", "reward=file"), "needs path=FILE"),
        (("label", "data", "reward=file", "path=absent.py"), "does not exist"),
        (("label", "data", "reward=saved"), "needs path=RUN"),
        (("label", "data", "reward=saved", "path=absent"), "is missing"),
        (("label", "data", "reward=constant", "reward.value=nan"), "reward.value needs a finite"),
        (("label", "data", "reward=constant", "reward.value=high"), "reward.value needs float"),
        (
            ("label", "data", "reward=constant", "+reward.scale=2"),
            "unknown config key reward.scale; known: value",
        ),
        (("label", "data", "label=a/b"), "label name"),
        (("label", "data", "check_transitions=0"), "check_transitions"),
        (("label", "data", "reward.max_attempts=0"), "max_attempts"),
        (("reward", "provider=oracle"), "unknown provider 'oracle'; available: anthropic, openai"),
        (("reward", "env=pusch"), "unknown env 'pusch'"),
        (("reward", "check_episodes=0"), "check_episodes"),
        (("reward", "env=gymnasium", "env.id=Pendulum-v1"), "documents no state fields"),
        ((*TRAIN, "policy=sacc"), "unknown policy 'sacc'; available: bc, cpl, cql, iql"),
        ((*TRAIN, "policy.name=sacc"), "unknown policy 'sacc'; known: bc, cpl, cql, iql"),
        ((*TRAIN, "+policy.depth=3"), "unknown config key policy.depth"),
        ((*TRAIN, "policy.expectile=2"), "policy.expectile is 2"),
        ((*TRAIN, "policy.learning_rate=nan"), "policy.learning_rate needs a finite number"),
        ((*TRAIN, "policy.name=null"), "unknown policy 'None'"),
        ((*TRAIN, "steps=0"), "steps is 0"),
        ((*TRAIN, "seeds=[]"), "seeds is []"),
        ((*TRAIN, "seeds=[1,1]"), "none of them twice"),
        ((*TRAIN, "device=tpu"), "device is 'tpu'"),
        ((*TRAIN, "threads=0"), "threads is 0"),
        ((*TRAIN, "matmul_precision=half"), "matmul_precision"),
        ((*TRAIN, "data.label=mine"), "has no label 'mine' (it has: default)"),
        ((*TRAIN, "env=reach"), "was collected in 'push', the evaluation runs in 'reach'"),
        ((*TRAIN, "seeds=[0,1,2]", "data=[data,data]"), "2 datasets for 3 seeds"),
        (("train",), "data.paths needs a value"),
        (("train", "data=absent"), "absent is not a dataset folder"),
        (("train", "resume=absent"), "absent is not a run folder"),
        (("train", "resume=data"), "data/manifest.json is missing"),
        (("train", "resume=run", "steps=3"), "give no other override"),
        (("evaluate", "absent"), "absent is not a run folder"),
        (("deploy", "absent"), "absent is not a run folder"),
        (("deploy", "absent", "robot=hal"), "unknown robot 'hal'"),
        (("data", "polish", "data"), "unknown action 'polish'; known: info, filter"),
        (("data", "info", "absent"), "absent is not a dataset folder"),
        (("data", "filter", "data"), "needs output=FOLDER"),
        (("data", "merge", "data", "output=data"), "data exists already"),
        (("data", "split", "data", "output=x", "fraction=1.5"), "fraction between 0 and 1"),
        (("data", "split", "data", "output=x", "fraction=0.0001"), "x-a would be empty"),
        (("demo", "task=dance"), "unknown task 'dance'; known: ant_forward, "),
        (("demo", "instruction=dance"), "no recorded reply"),
        (("demo", "episodes=0"), "episodes is 0"),
        (("demo", "seeds=[]"), "seeds is []"),
        (("doctor", "json=true"), "takes no overrides"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_wrong_name_or_setting(refused, arguments, told):
    assert told in refused(*arguments)


def test_an_instruction_without_a_reply_names_the_ways_to_a_model(refused):
    for command in (("reward", "fold the towel"), ("label", "data", "instruction=fold the towel")):
        told = refused(*command)
        assert 'no recorded reply for the instruction "fold the towel"' in told
        assert "provider=openai provider.base_url=... provider.model=..." in told
        assert "reward=file" in told
        assert "push the cube onto the target" in told


@pytest.mark.parametrize("arguments", [[], ["dance"], ["train", "-x"], ["label"], ["data", "info"]])
def test_a_command_line_that_cannot_be_parsed_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


# ---- data ----------------------------------------------------------------------------------------


def test_a_truncated_dataset(refused, place):
    path = place / "data" / "observation.npy"
    path.write_bytes(path.read_bytes()[:-7])
    for arguments in (TRAIN, ("label", "data"), ("data", "info", "data")):
        assert "observation.npy is missing or truncated" in refused(*arguments)


@pytest.mark.parametrize("name", ["observation", "action"])
def test_nan_in_the_data(refused, place, name):
    column = np.load(place / "data" / f"{name}.npy", mmap_mode="r+")
    column[5, 0] = np.nan
    column.flush()
    assert f"{name} has NaN or infinity at row 5" in refused(*TRAIN)


def test_nan_in_a_field_that_the_reward_reads(refused, place, push_reward_file):
    column = np.load(place / "data" / "state.cube_position.npy", mmap_mode="r+")
    column[:] = np.nan
    column.flush()
    told = refused("label", "data", "reward=file", f"path={push_reward_file}")
    assert "infinite or not a number" in told or "NaN" in told or "finite" in told


def test_nan_in_the_labels(refused, place):
    path = place / "data" / "labels" / "default.parquet"
    table = pq.read_table(path)
    reward = table.column("reward").to_numpy().copy()
    reward[3] = np.nan
    index = table.schema.get_field_index("reward")
    pq.write_table(table.set_column(index, "reward", pa.array(reward)), path)
    assert "hold NaN; label it again" in refused(*TRAIN)
    assert "hold NaN" in refused("data", "info", "data")


def test_datasets_of_another_action_size(refused, place):
    assert main(["collect", "env=reach", "episodes=4", "output=reach"]) == 0
    assert main(["label", "reach", "reward=constant"]) == 0
    told = refused(*TRAIN, "seeds=[0,1]", "data=[data,reach]")
    assert "use datasets of one environment" in told
    assert "use datasets of one environment" in refused("data", "merge", "data", "reach")
    description = place / "reach" / "dataset.json"
    value = json.loads(description.read_text())
    value["columns"]["action"]["shape"] = [3]
    description.write_text(json.dumps(value))
    assert "action.npy holds" in refused("data", "info", "reach")


def test_a_policy_on_another_environment_than_its_own(refused, run):
    for path in (run / "policy").glob("*/policy.json"):
        value = json.loads(path.read_text())
        value["environment"]["name"] = "reach"
        path.write_text(json.dumps(value))
    assert "the policy reads observations of size" in refused("evaluate", "run", "episodes=2")
    assert "observation" in refused("deploy", "run")


# ---- arguments, the environment and permissions --------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("dance",), "embodied: argument COMMAND: invalid choice: 'dance'"),
        ((), "embodied: the following arguments are required: COMMAND; see `embodied --help`"),
        (
            ("deploy",),
            "embodied deploy: the following arguments are required: RUN; "
            "see `embodied deploy --help`",
        ),
        (("doctor", "--jsn\n"), "embodied: unrecognized arguments: --jsn"),
    ],
)
def test_a_wrong_argument(arguments, told, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(told)


@pytest.mark.parametrize("arguments", [("doctor",), ("evaluate", "run"), TRAIN])
def test_a_graphics_library_that_mujoco_does_not_know(refused, monkeypatch, arguments):
    monkeypatch.setenv("MUJOCO_GL", "foo")
    told = refused(*arguments)
    assert "MUJOCO_GL is 'foo'; unset it" in told
    assert "glfw" in told


@pytest.mark.parametrize("value", ["", "glfw", " EGL ", "OFF", "disable", "disabled", "OSMesa"])
def test_the_graphics_libraries_that_mujoco_knows(monkeypatch, value):
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setenv("MUJOCO_GL", value)
    check_gl()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (PermissionError(13, "Permission denied", "data/x"), "no permission for data/x; "),
        (NotADirectoryError(20, "Not a directory", "file/x"), "file/x leads through something"),
    ],
)
def test_a_file_that_cannot_be_reached(refused, monkeypatch, error, told):
    def fail(*arguments):
        raise error

    monkeypatch.setattr("embodied.stages.data.run", fail)
    assert told in refused("data", "info", "data")


def test_an_override_that_cannot_be_read_is_named_once(refused):
    told = refused("reward", 'instruction="push')
    assert told == (
        'embodied reward: cannot read the override instruction="push; quote its value: '
        "instruction='\"VALUE\"'\n"
    )
