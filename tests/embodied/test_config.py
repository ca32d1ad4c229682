from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from embodied.config import build, load, sweep
from embodied.errors import UserError


@dataclass(frozen=True)
class Inner:
    size: int = 1
    rate: float = 0.5


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner = field(default_factory=Inner)
    seeds: tuple[int, ...] = (0,)
    fast: bool = False
    limit: int | None = None
    options: dict[str, Any] = field(default_factory=dict)


def test_plain_values_become_a_dataclass():
    made = build(
        Outer,
        {
            "name": "a",
            "inner": {"rate": 2},
            "seeds": [3, 4],
            "fast": True,
            "limit": None,
            "options": {"any": [1]},
        },
    )
    assert made == Outer("a", Inner(1, 2.0), (3, 4), True, None, {"any": [1]})
    assert isinstance(made.inner.rate, float)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({}, "config key name is missing"),
        ({"name": "a", "nam": 1}, "unknown config key nam; known: name, inner"),
        ({"name": "a", "inner": {"sizes": 1}}, r"unknown config key inner\.sizes; known: size"),
        ({"name": 3}, "config key name needs str, not 3"),
        ({"name": None}, "config key name needs str, not None"),
        ({"name": "a", "inner": 3}, "config key inner needs keys with values, not 3"),
        ({"name": "a", "inner": {"size": 1.5}}, r"config key inner\.size needs int, not 1\.5"),
        ({"name": "a", "inner": {"size": True}}, r"config key inner\.size needs int, not True"),
        ({"name": "a", "inner": {"rate": "x"}}, r"config key inner\.rate needs float, not 'x'"),
        ({"name": "a", "inner": {"rate": True}}, r"config key inner\.rate needs float, not True"),
        ({"name": "a", "fast": 1}, "config key fast needs bool, not 1"),
        ({"name": "a", "seeds": 3}, r"config key seeds needs a list like \[1,2\], not 3"),
        ({"name": "a", "seeds": ["x"]}, "config key seeds needs int, not 'x'"),
        ({"name": "a", "limit": "x"}, "config key limit needs int, not 'x'"),
        ({"name": "a", "options": [1]}, "config key options needs keys with values"),
        ({"name": "a", 3: 1}, "unknown config key 3"),
        ([1], "the config needs keys with values"),
        (None, "the config needs keys with values"),
        ("text", "the config needs keys with values"),
    ],
)
def test_a_wrong_value_is_named(values, told):
    with pytest.raises(UserError, match=told):
        build(Outer, values)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_refused(value):
    with pytest.raises(UserError, match=r"config key inner\.rate needs a finite number"):
        build(Outer, {"name": "a", "inner": {"rate": value}})


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
KEYS = [item.name for item in dataclasses.fields(Outer)]


@settings(max_examples=200, deadline=None)
@given(values=st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), plain, max_size=6))
def test_any_plain_values_give_the_dataclass_or_a_user_error(values):
    try:
        made = build(Outer, values)
    except UserError:
        return
    assert isinstance(made.name, str)
    assert all(type(seed) is int for seed in made.seeds)


# ---- composing -----------------------------------------------------------------------------------


def test_values_are_resolved():
    values = load("label", ["instruction=push it"])
    assert values["reward"]["instruction"] == "push it"
    assert load("reward", ["reward=file", "path=a.py"])["reward"] == {
        "name": "file",
        "path": "a.py",
    }


@pytest.mark.parametrize(
    ("command", "overrides", "told"),
    [
        ("train", ["data=x", "stepz=3"], "unknown config key 'stepz'"),
        ("train", ["data=x", "policy.exspectile=0.7"], "unknown config key 'policy.exspectile'"),
        ("train", ["data=x", "policy=sacc"], "unknown policy 'sacc'; available: bc, cpl, cql, iql"),
        ("collect", ["output=x", "env=pusch"], "unknown env 'pusch'; available: "),
        ("collect", ["output=x", "behaviour=wild"], "unknown behaviour 'wild'; available: cart"),
        ("label", ["reward=nice"], "unknown reward 'nice'; available: constant, ensemble"),
        ("reward", ["provider=oracle"], "unknown provider 'oracle'; available: anthropic, openai"),
        ("deploy", ["robot=hal"], "unknown robot 'hal'; available: mujoco_so101"),
        ("collect", [], "output needs a value; give it as output=VALUE"),
        ("train", [], r"data\.paths needs a value"),
        ("collect", ["output=x", "env=gymnasium"], r"env\.id needs a value"),
        ("reward", ["provider=openai"], r"provider\.base_url needs a value"),
        ("train", ["data=x", "steps=${steps}"], "Recursive interpolation"),
        ("train", ["data=x", "name=${nowhere}"], "nowhere"),
        ("train", ["data=x", "steps"], "cannot read the override steps;"),
        ("train", ["data="], "data"),
    ],
)
def test_a_mistake_in_an_override_is_told_in_one_line(command, overrides, told):
    with pytest.raises(UserError, match=told) as caught:
        load(command, overrides)
    assert "\n" not in str(caught.value)


FOLDERS = [
    "plain",
    "data/push",
    "with space",
    "comma,comma",
    "it's",
    'a "quoted" name',
    "key=value",
    "back\\slash",
    "back\\'both",
    "[bracket",
    "{curly}",
    "${name}",
    "${oc.env:HOME}",
    "a:b",
    "#hash",
    "tab\there",
    "ends with backslash\\",
    "(round)",
    "null",
    "3",
    "native/x",
    "~tilde",
    "ünïcödé",
]


@pytest.mark.parametrize("folder", FOLDERS)
def test_data_folder_may_have_any_name(folder):
    found = load("train", [f"data={folder}"])["data"]
    assert found == {"paths": [folder], "label": "default", "fields": {}}


def test_data_may_be_a_list_of_folders():
    values = load("train", ["data=[a,'b c',d]", "data.label=mine"])
    assert values["data"] == {"paths": ["a", "b c", "d"], "label": "mine", "fields": {}}


def test_a_folder_with_the_name_of_a_group_file_is_named_by_its_path():
    assert load("train", ["data=native", "data.paths=[x]"])["data"]["paths"] == ["x"]
    assert load("train", ["data=./native"])["data"]["paths"] == ["./native"]


def test_a_folder_in_brackets_is_taken_where_it_exists(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("[both]").mkdir()
    assert load("train", ["data=[both]"])["data"]["paths"] == ["[both]"]


# A composition takes a while, so a failing text is shown as it was found.
NO_SHRINK = [phase for phase in Phase if phase is not Phase.shrink]
override_text = st.text(max_size=25) | st.builds(
    "{}{}={}".format,
    st.sampled_from(["", "+", "++", "~"]),
    st.sampled_from(["steps", "policy", "policy.discount", "env.id", "data", "hydra", "a.b", ""]),
    st.text(max_size=15) | st.sampled_from(["[", "{", "'", '"', "${", "${steps}", "???", "\\"]),
)


@settings(max_examples=60, deadline=None, phases=NO_SHRINK)
@given(text=override_text)
def test_any_override_gives_a_config_or_a_user_error(text):
    try:
        values = load("train", ["data=x", text])
    except UserError:
        return
    assert values["data"]["label"] == "default"


# ---- sweeps --------------------------------------------------------------------------------------


def test_a_sweep_is_every_combination_in_order():
    assert sweep(["policy=iql,bc", "steps=1,2", "name=a"]) == [
        ["policy=iql", "steps=1", "name=a"],
        ["policy=iql", "steps=2", "name=a"],
        ["policy=bc", "steps=1", "name=a"],
        ["policy=bc", "steps=2", "name=a"],
    ]
    assert sweep([]) == [[]]


def test_a_list_is_one_value_and_not_a_sweep():
    assert sweep(["seeds=[0,1],[2]"]) == [["seeds=[0,1]"], ["seeds=[2]"]]
    assert sweep(["data=[a,b]"]) == [["data=[a,b]"]]


def test_every_choice_of_a_sweep_is_an_override():
    found = [
        load("train", choice) for choice in sweep(["policy=iql,bc", "data=a b,it's", "steps=1,2"])
    ]
    assert [(v["policy"]["name"], *v["data"]["paths"], v["steps"]) for v in found] == [
        (policy, folder, steps)
        for policy in ("iql", "bc")
        for folder in ("a b", "it's")
        for steps in (1, 2)
    ]


def test_an_existing_folder_with_a_comma_is_one_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a,b").mkdir()
    assert sweep(["data=a,b"]) == [["data=a,b"]]


def test_a_range_is_a_sweep():
    assert sweep(["steps=range(1,4)"]) == [["steps=1"], ["steps=2"], ["steps=3"]]


@settings(max_examples=200, deadline=None)
@given(text=override_text)
def test_any_text_to_sweep_gives_choices_or_a_user_error(text):
    try:
        choices = sweep([text])
    except UserError:
        return
    assert all(len(choice) == 1 for choice in choices)
