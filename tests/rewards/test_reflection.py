"""Several programs a round: what the model reads of the training, and which samples are kept."""

import json
import math

import pytest

from embodied.errors import UserError
from embodied.rounds import Round
from embodied.types import RewardContext
from rewards.providers.base import Reply
from rewards.providers.budget import Budget, BudgetError
from rewards.reflection import reflection, sample, table

BEST = Round(0, "first", "", "def reward():\n    return 1\n", success={"mean": 0.5})
CURVES = {
    "updates": [10, 20],
    "success": [0.0, 0.5],
    "episode length": [50.0, 40.0],
    "terms": {"reach": [0.125, 0.375], "lost": [math.nan, math.nan], "late": [math.nan, 2.0]},
}


class Sampling:
    """Answers each sample with its own reply; a reply may be an error."""

    name = "sampling"

    def __init__(self, replies):
        self.replies, self.budget, self.asked = replies, Budget(), []

    def complete(self, messages, log=None, sample=0):
        found = self.complete_many([messages], log, [sample])[0]
        if isinstance(found, UserError):
            raise found
        return found

    def complete_many(self, questions, log=None, samples=None):
        found = []
        for messages, number in zip(questions, samples, strict=True):
            self.asked.append((number, list(messages)))
            reply = self.replies[number]
            reply = reply.pop(0) if isinstance(reply, list) else reply
            found.append(
                reply if isinstance(reply, UserError) else Reply(reply, "a-model", {}, "raw")
            )
        return found


def fenced(source):
    return f"```python\n{source}```"


@pytest.fixture
def ask(task, good, make_transitions, tmp_path):
    """Asks a provider for samples, which are compared with ``good``; their folder is ``round``."""
    reference = tmp_path / "reference.py"
    reference.write_text(good)
    defaults = {"instruction": "push", "samples": 3, "first_sample": 0, "max_attempts": 2}

    def call(provider, **changes):
        context = RewardContext(
            tmp_path / "round", task, make_transitions(64), lambda: provider, reference=reference
        )
        return sample(context, BEST, CURVES, "sample_1 reached 0.25.", **{**defaults, **changes})

    return call


def test_the_table_has_values_in_order_and_their_max_mean_and_min():
    assert table(CURVES).splitlines() == [
        "- term reach: 0.125, 0.375 (max 0.375, mean 0.25, min 0.125)",
        "- term lost: not measured",
        "- term late: ?, 2 (max 2, mean 2, min 2)",
        "- success: 0, 0.5 (max 0.5, mean 0.25, min 0)",
        "- episode length: 50, 40 (max 50, mean 45, min 40)",
    ]


def test_the_model_reads_the_best_program_and_the_others():
    text = reflection(BEST, CURVES, "sample_1 reached 0.25.")
    assert "succeeded in 50 %" in text
    assert "(updates 10, 20)" in text
    assert table(CURVES) in text
    assert "sample_1 reached 0.25." in text
    assert "Read the numbers" not in reflection(BEST, {}, "")


def test_every_sample_is_checked_and_equal_code_is_kept_once(ask, good, tmp_path):
    other = good.replace("0.2 * reach", "0.3 * reach")
    provider = Sampling({4: [fenced(good)], 5: ["No.", fenced(other)], 6: [fenced(good)]})
    kept = ask(provider, first_sample=4)
    assert kept == ["0", "1"]
    assert (tmp_path / "round" / "1" / "reward" / "reward.py").read_text() == other
    told = json.loads((tmp_path / "round" / "samples.json").read_text())
    assert told == {"accepted": ["0", "1"], "refused": {"2": "the same code as sample 0"}}
    assert [number for number, _ in provider.asked] == [4, 5, 6, 5]
    first, mended = provider.asked[1][1], provider.asked[3][1]
    assert mended[: len(first)] == first
    assert "no complete fenced python block" in mended[-1]["content"]


def test_a_sample_that_never_passes_is_refused_with_the_reason(ask, good, tmp_path):
    provider = Sampling({0: ["No.", "No."], 1: [fenced(good)]})
    assert ask(provider, samples=2) == ["1"]
    told = json.loads((tmp_path / "round" / "samples.json").read_text())
    assert "no complete fenced" in told["refused"]["0"]


def test_a_spent_budget_ends_the_asking_with_what_there_is(ask, good, tmp_path):
    spent = BudgetError("the cap of 1 calls is reached")
    provider = Sampling({0: [fenced(good)], 1: spent, 2: spent})
    assert ask(provider) == ["0"]
    told = json.loads((tmp_path / "round" / "samples.json").read_text())
    assert told["refused"] == {"1": str(spent), "2": str(spent)}


def test_another_failure_stops_the_round_and_leaves_it_open(ask, good, tmp_path):
    provider = Sampling({0: [fenced(good)], 1: UserError("the server is gone"), 2: fenced(good)})
    with pytest.raises(UserError, match="the server is gone"):
        ask(provider)
    assert not (tmp_path / "round" / "samples.json").exists()
    assert (tmp_path / "round" / "0" / "reward" / "provenance.json").exists()


def test_at_least_one_sample_is_asked_for(ask):
    with pytest.raises(UserError, match="samples is 0"):
        ask(Sampling({}), samples=0)
