"""The dialogue that is kept in the repository: a wrong program, a person's word, the answer."""

import re
from pathlib import Path

import pytest

from embodied.rounds import Round
from embodied.stages.label import check_sample
from embodied.types import RewardContext
from rewards.improve import revise
from rewards.providers.recorded import RecordedProvider
from rewards.text2reward import generate
from sim.tasks.push import PushTask

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "your-own-reward.md"


@pytest.fixture(scope="module")
def said():
    """What the guide tells its reader to say, first and then after the video."""
    text = GUIDE.read_text(encoding="utf-8").replace("\\\n", "")
    (first,) = re.findall(r'^embodied reward "([^"]+)" env=push$', text, re.MULTILINE)
    (then,) = re.findall(r'^embodied improve runs/TIP "([^"]+)"$', text, re.MULTILINE)
    return first, then


def test_the_guides_dialogue_is_answered_without_a_network(said, push_dataset, tmp_path):
    task, provider = PushTask(), RecordedProvider()
    sample = check_sample(push_dataset, 4096)
    wrong = generate(said[0], task, provider, sample, folder=tmp_path / "0")
    assert "cube_position" not in wrong.program.source
    assert "wrong on purpose" in wrong.provenance()["statement"]
    context = RewardContext(
        tmp_path / "1", task, sample, provider=lambda: provider, instruction=said[0]
    )
    rounds = [Round(0, "first", "", wrong.program.source, terms={"closeness": 0.5})]
    mended = revise(
        context, rounds, said[1], instruction=said[0], max_attempts=3, measurements=None
    )
    assert "written for the repository by its authors" in mended.provenance()["statement"]
    assert mended.provenance()["said"] == said[1]
    assert {"cube_position", "cube_velocity"} <= set(mended.program.fields_used)
