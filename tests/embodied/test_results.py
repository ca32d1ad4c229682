"""What an evaluation writes into ``result.json`` besides its statistics."""

import shutil

import pytest

from embodied.errors import UserError
from embodied.files import read_json
from embodied.results import diverged
from embodied.runs import RunFolder
from embodied.stages.divergence import Divergence
from embodied.stages.evaluate import EvaluateConfig, evaluate


@pytest.fixture(name="copy")
def _copy(trained, tmp_path):
    """A copy of the trained run that a test may change."""
    return RunFolder(shutil.copytree(trained.path, tmp_path / "run"))


def test_a_result_says_where_its_episodes_began_and_which_networks_are_missing(copy, capsys):
    trained = read_json(copy.path / "result.json")
    assert trained["evaluation_seed"] == 1_000_000
    assert not any("NaN" in note for note in trained["notes"])
    shutil.rmtree(copy.path / "controls" / "bc" / "1")
    Divergence(copy, (0, 1), resumed_at=0).note({"bc/loss": [0.5, float("nan")]}, step=3)
    capsys.readouterr()
    result = read_json(
        evaluate(copy, EvaluateConfig(episodes=2, seed=7, videos=False)) / "result.json"
    )
    assert result["evaluation_seed"] == 7
    assert result["notes"][-1] == "bc: seed 1 became NaN by update 3 and is left out"
    assert result["notes"][:-1] == trained["notes"]
    assert len(result["controls"]["bc"]["success"]["per_seed"]) == 1


def test_no_network_is_missing_where_nothing_diverged(tmp_path):
    assert diverged(RunFolder(tmp_path)) == {}


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"bc": 3}', '{"bc": {"1": "3"}}', '{"bc": {"1": true}}', '{"bc": null}']
)
def test_a_damaged_list_of_missing_networks_is_told(tmp_path, text):
    (tmp_path / "diverged.json").write_text(text)
    with pytest.raises(UserError, match=r"diverged\.json"):
        diverged(RunFolder(tmp_path))
