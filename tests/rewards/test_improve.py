"""The next program after a person's word: what the model is told, and what is kept."""

import json

import pytest

from embodied.errors import UserError
from embodied.rounds import Round
from embodied.types import RewardContext
from rewards.improve import measured, revise, revision_messages, sentence
from rewards.prompt import build_messages, prompt_hash
from rewards.providers.base import NoReplyError, Reply
from rewards.providers.budget import Budget
from rewards.providers.recorded import RecordedProvider, keep_reply

FIRST = Round(
    0,
    "first",
    "",
    "def reward():\n    return 1\n",
    terms={"reach": 0.25, "bonus": 0.0},
    measured_on="evaluation episodes",
    success={"mean": 0.034, "ci95": [0, 0.1], "per_seed": [0.03, 0.04]},
)
SECOND = Round(1, "feedback", "go to the cube", "def reward():\n    return 2\n")


class Answering:
    name = "answering"

    def __init__(self, *replies):
        self.replies, self.asked, self.budget = list(replies), [], Budget()

    def complete(self, messages, log=None, sample=0):
        self.asked.append(list(messages))
        return Reply(self.replies.pop(0), "a-model", {}, "raw")


@pytest.fixture
def context(task, good, make_transitions, tmp_path):
    """Makes the context of a provider; rewards are compared with ``good``."""
    reference = tmp_path / "reference.py"
    reference.write_text(good)

    def make(provider):
        return RewardContext(
            tmp_path / "r", task, make_transitions(64), lambda: provider, reference=reference
        )

    return make


def told(messages):
    return [item["content"] for item in messages[2:]]


def test_the_conversation_holds_every_program_and_what_was_said_of_it(task):
    messages = revision_messages(
        "push", task, [FIRST, SECOND], " leave it \n there", measurements=1
    )
    assert messages[:2] == build_messages("push", task)
    assert [item["role"] for item in messages[2:]] == ["assistant", "user"] * 2
    first, of_first, second, of_second = told(messages)
    assert first == "```python\ndef reward():\n    return 1\n```"
    assert second == "```python\ndef reward():\n    return 2\n```"
    assert "succeeded in 3 % of the evaluation episodes" in of_first
    assert "over evaluation episodes: reach 0.25, bonus 0." in of_first
    assert "says: go to the cube" in of_first
    assert "says: leave it there" in of_second
    assert "succeeded" not in of_second


def test_without_measurements_the_text_depends_on_no_number(task):
    other = Round(0, "first", "", FIRST.source, terms={"reach": 0.2501}, measured_on="x")
    plain = [
        revision_messages("push", task, [item], "leave it", measurements=False)
        for item in (FIRST, other)
    ]
    assert prompt_hash(plain[0]) == prompt_hash(plain[1])
    assert "0.25" not in json.dumps(plain[0][2:])


def test_a_return_is_told_where_there_is_no_success():
    assert measured(Round(0, "first", "", "", returns={"mean": 1234.5})) == (
        "Policies trained with it reached a return of 1234."
    )
    assert measured(SECOND) == ""


@pytest.mark.parametrize("said", ["", "  \n ", "x" * 1001])
def test_feedback_is_a_short_text(said):
    with pytest.raises(UserError, match="feedback is empty or longer than 1000"):
        sentence(said)


def test_a_run_without_a_reward_cannot_be_improved(task):
    with pytest.raises(UserError, match="no reward to improve"):
        revision_messages("push", task, [], "leave it", measurements=False)


def ask(context, **changes):
    options = {"instruction": "push", "max_attempts": 3, "measurements": None, **changes}
    return revise(context, [FIRST], "leave it there", **options)


def test_a_refused_answer_is_mended_and_everything_is_kept(context, good, tmp_path):
    provider = Answering("I cannot.", f"```python\n{good}```")
    reward = ask(context(provider))
    assert (tmp_path / "r" / "reward.py").read_text() == good
    assert reward.provenance()["said"] == "leave it there"
    assert reward.provenance()["attempts"] == 2
    question = json.loads((tmp_path / "r" / "messages.json").read_text())["messages"]
    assert question == provider.asked[0]
    assert provider.asked[1][: len(question)] == question
    assert "succeeded in 3 %" in question[-1]["content"]
    assert len((tmp_path / "r" / "transcript.jsonl").read_text().splitlines()) == 2


def test_a_conversation_held_again_writes_the_same_transcript(context, good, tmp_path):
    texts = []
    for _ in range(2):
        provider = Answering("I cannot.", f"```python\n{good}```")
        ask(context(provider))
        texts.append((tmp_path / "r" / "transcript.jsonl").read_text())
    assert texts[0] == texts[1]


def test_attempts_are_bounded(context, tmp_path):
    provider = Answering("No.", "No.", "No.")
    with pytest.raises(UserError, match="no reward passed its checks in 2 attempts"):
        ask(context(provider), max_attempts=2)
    assert len(provider.asked) == 2
    assert not (tmp_path / "r" / "provenance.json").exists()


def test_a_kept_dialogue_answers_the_exact_conversation(context, good, tmp_path):
    asked = context(RecordedProvider(tmp_path / "kept"))
    with pytest.raises(NoReplyError, match="no recorded reply"):
        ask(asked)
    question = json.loads((tmp_path / "r" / "messages.json").read_text())["messages"]
    keep_reply(tmp_path / "kept", question, f"```python\n{good}```")
    assert ask(asked).program.source == good
    with pytest.raises(NoReplyError):
        ask(asked, measurements=True)


def test_only_documented_tasks_are_improved(tmp_path, make_transitions):
    with pytest.raises(UserError, match="documented tasks"):
        ask(RewardContext(tmp_path, None, make_transitions(8), lambda: Answering()))
