"""Environments by Gymnasium's id."""

import pytest
from gymnasium.vector import AutoresetMode

from embodied.errors import UserError
from sim.gymnasium_adapter import make


def test_any_registered_environment_can_be_made():
    env = make("CartPole-v1", 3, render_mode=None)
    assert env.num_envs == 3
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    env.close()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Nope-v0", "pprint_registry"),
        ("CartPole-v99", "provides versioned environments"),
        ("not an id", "Malformed"),
        ("antigravity:CartPole-v1", "names a module"),
    ],
)
def test_unknown_ids_are_told_in_one_line(name, words):
    with pytest.raises(UserError, match=words) as caught:
        make(name)
    assert "\n" not in str(caught.value)


def test_no_environments_are_no_environments():
    with pytest.raises(UserError, match="at least 1"):
        make("CartPole-v1", 0)
