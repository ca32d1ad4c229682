import json

import numpy as np
import pytest

from embodied.errors import UserError
from embodied.files import sha256_bytes
from rewards.file import load
from rewards.prompt import build_messages, prompt_hash
from rewards.providers.base import NoReplyError, Reply, read_lines
from rewards.providers.recorded import RecordedProvider, write_record
from rewards.text2reward import code_block, generate, load_saved

CONSTANT = (
    "def reward(state, action, next_state):\n"
    "    x = np.zeros_like(state.grasp_force)\n"
    '    return x, {"x": x}\n'
)


def fenced(source, language="python"):
    return f"Some thoughts.\n\n```{language}\n{source}```\nDone."


class Scripted:
    """A provider that gives the next reply and keeps what it was asked."""

    name = "scripted"

    def __init__(self, *replies):
        self.replies = list(replies)
        self.asked = []

    def complete(self, messages, log=None):
        self.asked.append((list(messages), log))
        return Reply(self.replies.pop(0), "a-model", {"prompt_tokens": 1}, "raw")


def test_a_good_reply_becomes_a_saved_reward(task, good, make_transitions, tmp_path):
    sample = make_transitions(64)
    reward = generate("push the cube", task, Scripted(fenced(good)), sample, folder=tmp_path)
    assert (tmp_path / "reward.py").read_text() == good
    provenance = json.loads((tmp_path / "provenance.json").read_text())
    assert provenance == reward.provenance()
    assert provenance["kind"] == "text2reward"
    assert provenance["instruction"] == "push the cube"
    assert provenance["task"] == "push"
    assert provenance["prompt_sha256"] == prompt_hash(build_messages("push the cube", task))
    assert provenance["reply_sha256"] == sha256_bytes(fenced(good).encode())
    assert provenance["source_sha256"] == sha256_bytes(good.encode())
    assert (provenance["provider"], provenance["model"]) == ("scripted", "a-model")
    assert (provenance["attempts"], provenance["approved_by"]) == (1, "automatic checks")
    assert "statement" not in provenance
    measured = json.loads((tmp_path / "diagnostics.json").read_text())
    assert set(measured["terms"]) == {"progress", "reach", "bonus"}
    assert measured["agreement"]["transitions"]["pair_accuracy"] > 0.5


def test_failures_are_told_to_the_model(task, good, make_transitions, tmp_path):
    broken = good.replace("np.tanh", "np.tanhh")
    provider = Scripted("I cannot.", fenced(broken), fenced(CONSTANT), fenced(good))
    reward = generate("push", task, provider, make_transitions(64), max_attempts=4, folder=tmp_path)
    assert reward.provenance()["attempts"] == 4
    first, _ = provider.asked[0]
    last, log = provider.asked[-1]
    assert log == tmp_path / "runs" / "replies.jsonl"
    assert last[: len(first)] == first
    told = [message["content"] for message in last[len(first) :] if message["role"] == "user"]
    assert "no complete fenced python block" in told[0]
    assert "line 5" in told[1]
    assert "tanhh" in told[1]
    assert "prefers nothing" in told[2]
    transcript = read_lines(tmp_path / "transcript.jsonl")
    assert [bool(entry["failure"]) for entry in transcript] == [True, True, True, False]


def test_attempts_end_and_leave_no_reward(task, make_transitions, tmp_path):
    provider = Scripted(*[fenced(CONSTANT)] * 2)
    with pytest.raises(UserError, match=r"in 2 attempts; the last failure: .*prefers nothing"):
        generate("push", task, provider, make_transitions(64), max_attempts=2, folder=tmp_path)
    assert not (tmp_path / "reward.py").exists()
    assert not (tmp_path / "provenance.json").exists()


def test_without_a_sample_the_provenance_says_so(task, good, tmp_path):
    reward = generate("push", task, Scripted(fenced(good)), None, folder=tmp_path)
    assert reward.provenance()["approved_by"] == "parser only"
    assert not (tmp_path / "diagnostics.json").exists()


def test_attempts_are_at_least_one(task, tmp_path):
    with pytest.raises(UserError, match="at least 1"):
        generate("push", task, Scripted(), None, max_attempts=0, folder=tmp_path)


def test_a_recorded_reply_is_declared_as_such(task, good, make_transitions, tmp_path):
    write_record(tmp_path / "kept", task, "push the cube", fenced(good))
    provider = RecordedProvider(tmp_path / "kept")
    reward = generate("push the cube", task, provider, make_transitions(64), folder=tmp_path / "r")
    assert reward.provenance()["model"] == "recorded"
    assert "answer to this exact prompt" in reward.provenance()["statement"]
    with pytest.raises(NoReplyError, match="no recorded reply"):
        generate("fly", task, provider, make_transitions(64), folder=tmp_path / "r2")


def test_a_refused_recorded_reply_tells_why(task, make_transitions, tmp_path):
    write_record(tmp_path / "kept", task, "push the cube", fenced(CONSTANT))
    provider = RecordedProvider(tmp_path / "kept")
    with pytest.raises(UserError, match=r"recorded reply was refused: .*prefers nothing"):
        generate("push the cube", task, provider, make_transitions(64), folder=tmp_path / "r")


def test_a_saved_reward_scores_the_same(task, good, make_transitions, tmp_path):
    batch = make_transitions(64)
    reward = generate("push", task, Scripted(fenced(good)), batch, folder=tmp_path)
    again = load_saved(tmp_path, task)
    np.testing.assert_array_equal(again.score(batch).total, reward.score(batch).total)
    assert again.provenance() == reward.provenance()


def test_a_saved_reward_that_was_changed_is_refused(task, good, make_transitions, tmp_path):
    generate("push", task, Scripted(fenced(good)), make_transitions(64), folder=tmp_path)
    (tmp_path / "reward.py").write_text(good.replace("0.2", "0.3"))
    with pytest.raises(UserError, match="changed after it was approved"):
        load_saved(tmp_path, task)


def test_a_saved_reward_of_another_task_is_refused(task, good, make_transitions, tmp_path):
    generate("push", task, Scripted(fenced(good)), make_transitions(64), folder=tmp_path)
    task.name = "reach"
    with pytest.raises(UserError, match="made for task push, not for reach"):
        load_saved(tmp_path, task)


def test_a_folder_without_a_reward_is_told(task, tmp_path):
    with pytest.raises(UserError, match=r"provenance\.json is missing"):
        load_saved(tmp_path, task)


@pytest.mark.parametrize("language", ["python", "py", "", "python  "])
def test_the_code_block_is_found(language):
    assert code_block(fenced("x = 1\n", language)) == "x = 1\n"
    assert code_block(fenced("x = 1\n", language).replace("\n", "\r\n")) == "x = 1\n"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "no complete"),
        ("```python\nx = 1\n", "no complete"),
        ("x = 1", "no complete"),
        (fenced("x = 1\n") + "\n" + fenced("y = 1\n"), "more than one"),
        (fenced("x = 1\n", "bash"), "no complete"),
        ("```python\n" + "x" * 200_000 + "\n```", "no complete"),
    ],
)
def test_another_number_of_code_blocks_is_told(text, part):
    with pytest.raises(UserError, match=part):
        code_block(text)


def test_a_hand_written_reward_is_loaded(task, good, make_transitions, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(good)
    reward = load(path, task, make_transitions(64))
    assert reward.provenance()["kind"] == "file"
    assert reward.provenance()["file"] == "mine.py"
    assert reward.provenance()["source_sha256"] == sha256_bytes(good.encode())


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (None, "does not exist"),
        (b"\xff\xfe", "not UTF-8"),
        (b"import os", "exactly one function"),
        (b"#" * 200_000, "too long"),
        (CONSTANT.encode(), "prefers nothing"),
    ],
)
def test_a_mistake_in_the_file_is_told(task, make_transitions, tmp_path, content, part):
    path = tmp_path / "mine.py"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=part):
        load(path, task, make_transitions(64))


def test_a_folder_is_no_reward_file(task, tmp_path):
    with pytest.raises(UserError, match="cannot read"):
        load(tmp_path, task)
