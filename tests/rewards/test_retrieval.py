import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embodied.errors import UserError
from rewards import provenance
from rewards.prompt import build_messages, prompt_hash
from rewards.retrieval import EXPERTS, Example, cosine, library, nearest, tf_idf, words
from rewards.text2reward import generate

PUSH = Example("push", "push the cube onto the target", "cube_position target_position")
LIFT = Example("lift", "lift the cube", "x = next_state.cube_position\nreturn x")
HOP = Example("hopper_forward", "run forward", "x = next_state.torso_velocity\nreturn x")
STACK = Example("stack", "stack the cube", "x = next_state.cube_position\ny = state.other_cube")


def test_tf_idf_and_cosine_are_those_on_paper():
    one, other = tf_idf([["cube", "cube", "push"], ["cube", "lift"]])
    idf_cube, idf_rare = 1 + math.log(3 / 3), 1 + math.log(3 / 2)
    length = math.hypot(2 * idf_cube, idf_rare)
    assert one == pytest.approx({"cube": 2 * idf_cube / length, "push": idf_rare / length})
    length_other = math.hypot(idf_cube, idf_rare)
    assert cosine(one, other) == pytest.approx(2 / (length * length_other))
    assert tf_idf([[]]) == [{}]


def test_words_are_split_at_underscores():
    assert words("Push the Cube!", ["cube_position"]) == ["push", "the", "cube", "cube", "position"]


def test_the_most_similar_tasks_come_first(task):
    found = nearest(task.instruction, task, 3, [HOP, STACK, LIFT])
    assert [item.task for item in found] == ["lift", "stack", "hopper_forward"]
    assert nearest(task.instruction, task, 1, [HOP, STACK, LIFT]) == found[:1]


def test_the_tasks_own_reward_is_never_shown(task):
    copied = Example("elsewhere", task.instruction, f"# a comment\n\n{PUSH.source}  # more\n")
    found = nearest(task.instruction, task, 5, [PUSH, copied, LIFT])
    assert found == (LIFT,), "not by its name, and not by its code under another name"


def test_the_same_code_is_shown_once(task):
    again = Example("lift_again", LIFT.instruction, LIFT.source + "\n")
    assert len(nearest(task.instruction, task, 5, [LIFT, again])) == 1


@pytest.mark.parametrize(("count", "found"), [(1, [PUSH]), (-1, [LIFT])])
def test_what_cannot_be_shown_is_told(task, count, found):
    with pytest.raises(UserError, match=r"reward\.examples"):
        nearest(task.instruction, task, count, found)


@given(st.lists(st.lists(st.sampled_from("abcdef"), max_size=8), min_size=2, max_size=6))
def test_a_cosine_lies_between_0_and_1(documents):
    vectors = tf_idf(documents)
    for one in vectors:
        assert cosine(one, one) == pytest.approx(1.0 if one else 0.0)
        assert all(-1e-9 <= cosine(one, other) <= 1 + 1e-9 for other in vectors)


@given(st.randoms(use_true_random=False), st.integers(0, 4))
def test_the_order_of_the_library_does_not_matter(shuffle: random.Random, count):
    class Task:
        name, instruction, fields = "push", PUSH.instruction, {"cube_position": None}

    entries = [PUSH, LIFT, HOP, STACK, Example("lift", "raise the cube", "state.a")]
    expected = nearest(PUSH.instruction, Task, count, entries)
    shuffle.shuffle(entries)
    assert nearest(PUSH.instruction, Task, count, entries) == expected


def test_the_library_holds_experts_and_accepted_rewards(task, good, make_transitions, tmp_path):
    experts = tmp_path / "experts"
    experts.mkdir()
    (experts / "lift.reward").write_text('def reward():\n    """Lift the cube. Then hold."""\n')
    (experts / "wave_leg.reward").write_text("def reward():\n    return 0\n")
    runs = tmp_path / "runs"
    accepted = provenance.accept(
        good, task, make_transitions(64), {"kind": "file", "instruction": "mine"}
    )
    for name in ("a", "changed"):
        provenance.save(accepted, runs / name / "reward", None)
    (runs / "changed" / "reward" / "reward.py").write_text(good + "\n")
    (runs / "damaged" / "reward").mkdir(parents=True)
    (runs / "damaged" / "reward" / "provenance.json").write_text("{")
    provenance.save(accepted, runs / "a" / "rounds" / "1" / "reward", None)
    found = library(runs, experts)
    assert [(item.task, item.instruction) for item in found] == [
        ("lift", "Lift the cube"),
        ("wave_leg", "wave leg"),
        ("push", "mine"),
        ("push", "mine"),
    ]
    assert found[2].source == good


def test_our_experts_can_be_shown(task):
    found = nearest(task.instruction, task, 2, library(EXPERTS / "absent"))
    text = build_messages(task.instruction, task, found)[1]["content"]
    assert all(item.source.rstrip() in text for item in found)
    assert all(item.task != "push" for item in found)


class Answering:
    name = "answering"

    def __init__(self, reply):
        self.reply, self.asked = reply, []

    def complete(self, messages, log=None):
        from rewards.providers.base import Reply

        self.asked.append(messages)
        return Reply(self.reply, "a-model", {}, "raw")


def test_examples_reach_the_model_and_none_leaves_the_prompt_alone(
    task, good, make_transitions, tmp_path
):
    plain = build_messages("push", task)
    assert build_messages("push", task, ()) == plain
    provider = Answering(f"```python\n{good}```")
    without = generate("push", task, provider, make_transitions(64), folder=tmp_path / "none")
    shown = generate(
        "push", task, provider, make_transitions(64), examples=1, folder=tmp_path / "one"
    )
    assert provider.asked[0] == plain
    assert without.provenance()["prompt_sha256"] == prompt_hash(plain)
    assert "examples" not in without.provenance()
    (example,) = shown.provenance()["examples"]
    assert example["task"] != "push"
    assert "accepted for other tasks" in provider.asked[1][1]["content"]
