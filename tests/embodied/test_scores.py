"""D4RL's normalised score: its references, and which ids they belong to."""

import numpy as np
import pytest

from embodied.errors import UserError
from embodied.scores import REFERENCES, comparability, family, normalised_score


@pytest.mark.parametrize(
    ("env_id", "expected"),
    [
        ("halfcheetah-medium-v2", "halfcheetah"),
        ("hopper-medium-replay-v0", "hopper"),
        ("walker2d-medium-expert-v2", "walker2d"),
        ("ant-full-replay-v2", "ant"),
        ("antmaze-umaze-diverse-v2", "antmaze"),
        ("antmaze-large-play-v0", "antmaze"),
        ("kitchen-mixed-v0", "kitchen"),
        ("pen-human-v1", "pen"),
        ("relocate-cloned-v0", "relocate"),
        ("maze2d-medium-v1", "maze2d-medium"),
        ("HalfCheetah-v5", "halfcheetah"),
        ("hopper-v4", "hopper"),
        ("Walker2d-v2", "walker2d"),
        ("Ant-v5", "ant"),
        ("AntMaze_UMaze-v4", "antmaze"),
        ("AntMaze_Medium_Diverse_GR-v5", "antmaze"),
        ("FrankaKitchen-v1", "kitchen"),
        ("AdroitHandHammer-v1", "hammer"),
        ("PointMaze_Large-v3", "maze2d-large"),
        ("D4RL/antmaze/large-diverse-v1", "antmaze"),
        ("d4rl/DOOR/expert-v2", "door"),
        ("D4RL/kitchen/complete-v2", "kitchen"),
        ("D4RL/pointmaze/umaze-v2", "maze2d-umaze"),
    ],
)
def test_ids_of_three_libraries_lead_to_a_family(env_id, expected):
    assert family(env_id) == expected


@pytest.mark.parametrize(
    "env_id",
    [
        "",
        "push",
        "Pendulum-v1",
        "HalfCheetah",
        "halfcheetah-tiny-v2",
        "bullet-halfcheetah-medium-v0",
        "maze2d-umaze-v0",  # other references than version 1
        "maze2d-umaze-dense-v1",
        "PointMaze_UMazeDense-v3",
        "AdroitHandDoorSparse-v1",
        "AntMaze_UMazeDense-v4",
        "D4RL/pointmaze/open-v2",
        "HalfCheetah-v5\n",
        "xhopper-v4",
    ],
)
def test_an_id_without_references_is_refused(env_id):
    with pytest.raises(UserError, match="D4RL has no reference"):
        normalised_score(env_id, [1.0])


@pytest.mark.parametrize("name", REFERENCES)
def test_the_references_themselves_score_0_and_100(name):
    env_id = f"{name}-v1" if name.startswith("maze2d") else f"{name}-medium-v2"
    env_id = {"antmaze": "antmaze-umaze-v2", "kitchen": "kitchen-mixed-v0"}.get(name, env_id)
    if name in ("pen", "hammer", "door", "relocate"):
        env_id = f"{name}-human-v1"
    np.testing.assert_allclose(normalised_score(env_id, REFERENCES[name]), [0.0, 100.0], atol=1e-9)


def test_scores_by_hand():
    assert normalised_score("kitchen-mixed-v0", [1.0, 3.0]) == pytest.approx([25.0, 75.0])
    assert normalised_score("HalfCheetah-v5", 5927.4105235) == pytest.approx(50.0)
    assert normalised_score("hopper-medium-v2", [[2157.0]]).shape == (1, 1)


def test_other_versions_are_said_not_to_compare_with_the_published_tables():
    assert "not with the published D4RL tables" in comparability("HalfCheetah-v5")
    assert comparability("D4RL/pen/human-v2")
    assert comparability("halfcheetah-medium-v2") == ""
    with pytest.raises(UserError):
        comparability("push")
