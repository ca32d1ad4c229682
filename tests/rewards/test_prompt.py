import json
from dataclasses import dataclass, field

import pytest

from embodied.errors import UserError
from rewards.dialect.functions import FUNCTIONS
from rewards.prompt import build_messages, feedback, prompt_hash, subject


def text_of(task, instruction="push the cube"):
    return "\n".join(message["content"] for message in build_messages(instruction, task))


def test_the_prompt_documents_every_field_and_the_action(task):
    text = text_of(task)
    for name, entry in task.fields.items():
        shape = ", ".join(["N", *map(str, entry.shape)])
        assert f"{name}: Array[{shape}]  # unit {entry.unit}" in text
        assert entry.meaning in text
    assert "frame world" in text
    assert "action: Array[N, 6]  # unit rad, from -0.15 to 0.15" in text
    assert "10 Hz" in text
    assert "50 control steps (5 s)" in text
    for function in FUNCTIONS.values():
        assert function.usage in text


def test_the_prompt_is_deterministic_and_its_hash_names_it(task):
    first, again = build_messages("push the cube", task), build_messages(" push  the cube\n", task)
    assert first == again
    assert prompt_hash(first) == prompt_hash(json.loads(json.dumps(again)))
    assert prompt_hash(first) != prompt_hash(build_messages("push the cube away", task))


def test_a_hash_does_not_depend_on_the_order_of_keys():
    one = [{"role": "user", "content": "ä"}]
    other = [{"content": "ä", "role": "user"}]
    assert prompt_hash(one) == prompt_hash(other)
    assert prompt_hash([]) == "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945"


def test_the_success_test_is_never_touched(task):
    @dataclass
    class Guarded(type(task)):
        touched: list = field(default_factory=list)

        def __getattribute__(self, name):
            if name in ("success", "speed", "observe", "state", "start", "scene"):
                raise AssertionError(f"the prompt reads {name}")
            return object.__getattribute__(self, name)

    assert build_messages("push", Guarded()) == build_messages("push", task)


def test_the_subject_can_be_read_back(task):
    messages = build_messages('  push\nthe "cube"  ', task)
    assert subject(messages) == ("push", 'push the "cube"')
    assert subject([*messages, *feedback("a reply", "a failure")]) == ("push", 'push the "cube"')
    assert subject([{"role": "user", "content": "hello"}]) == ("", "")


def test_feedback_tells_the_failure():
    reply, failure = feedback("my code", "line 3: no")
    assert reply == {"role": "assistant", "content": "my code"}
    assert failure["role"] == "user"
    assert "line 3: no" in failure["content"]


@pytest.mark.parametrize("instruction", ["", "  \n", "x" * 501])
def test_an_empty_or_endless_instruction_is_refused(instruction, task):
    with pytest.raises(UserError, match="instruction"):
        build_messages(instruction, task)
