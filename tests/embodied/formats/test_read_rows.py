from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodied.errors import UserError
from embodied.formats.rows import OBSERVATION, Steps, episode_from_rows, split_at_ends
from embodied.formats.source import ActionRange, Counts, check_size, stored_names


def steps(rows: int, length: int, **options) -> Steps:
    time = np.arange(max(rows, length + 1), dtype=np.float64)[:, None]
    following = time[1 : length + 1] if options.pop("recorded", False) else None
    return Steps(
        observed={OBSERVATION: time[:rows]},
        action=np.arange(length, dtype=np.float32)[:, None],
        columns={"reward": np.arange(length)},
        following=None if following is None else {OBSERVATION: following},
        **options,
    )


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(1, 6),
    last=st.booleans(),
    recorded=st.booleans(),
    terminated=st.booleans(),
    timeout=st.booleans(),
)
def test_every_transition_is_one_that_was_recorded(length, last, recorded, terminated, timeout):
    counts = Counts()
    options = {"terminated": terminated, "timeout": timeout and not terminated}
    given_rows = length + 1 if last and not recorded else length
    found = list(episode_from_rows(steps(given_rows, length, recorded=recorded, **options), counts))
    whole = last or recorded
    expected = length if whole or terminated else length - 1
    assert sum(len(item.action) for item in found) == expected
    for item in found:
        assert len(item.observation) == len(item.action) + 1 == len(item.columns["reward"]) + 1
        moved = item.observation[1:, 0] - item.observation[:-1, 0]
        # Only the observation that stands in for the one after a terminal state stays in place.
        stands = not whole and terminated
        assert moved.tolist() == [1.0] * (len(moved) - stands) + [0.0] * stands
        assert item.terminated == terminated
    assert counts.stand_in == int(not whole and terminated)
    assert counts.dropped_last == int(not whole and not terminated)
    assert counts.terminated + counts.truncated + counts.cut == len(found)


def test_a_next_observation_that_is_not_the_next_row_ends_the_episode():
    observed = np.array([[0.0], [1.0], [50.0], [np.nan], [52.0]])
    following = np.array([[1.0], [2.0], [np.nan], [52.0], [53.0]])
    counts = Counts()
    first, second = episode_from_rows(
        Steps(
            observed={OBSERVATION: observed},
            action=np.zeros((5, 1)),
            terminated=True,
            following={OBSERVATION: following},
        ),
        counts,
    )
    np.testing.assert_array_equal(first.observation, [[0], [1], [2]])
    np.testing.assert_array_equal(second.observation, [[50], [np.nan], [52], [53]])
    assert (first.terminated, second.terminated) == (False, True)
    assert (counts.cut, counts.terminated, counts.stand_in, counts.dropped_last) == (1, 1, 0, 0)


def test_vectors_are_joined_by_name_and_images_stay_fields():
    observed = {
        "b": np.ones((3, 2), np.float32),
        "a/x": np.zeros(3),
        "camera": np.zeros((3, 4, 4, 3), np.uint8),
        "mode": np.zeros((3, 1), np.int64),
    }
    (episode,) = episode_from_rows(
        Steps(observed=observed, action=np.zeros((2, 1)), terminated=False), Counts()
    )
    assert episode.observation.tolist() == [[0, 1, 1]] * 3
    assert sorted(episode.state) == ["a.x", "b", "camera", "mode"]
    assert episode.state["camera"].dtype == np.uint8


@pytest.mark.parametrize(
    "bad",
    [
        {"observed": {OBSERVATION: np.zeros((5, 1))}},
        {"observed": {"a": np.zeros((2, 1)), "b": np.zeros((3, 1))}},
        {"columns": {"reward": np.zeros(3)}},
        {"following": {"other": np.zeros((2, 1))}},
        {"observed": {"image": np.zeros((2, 4, 4, 3), np.uint8)}},
        {"observed": {OBSERVATION: np.zeros((2, 4, 4))}},
        {"observed": {"a b": np.zeros((2, 1)), "a_b": np.zeros((2, 1))}},
    ],
)
def test_arrays_that_do_not_fit_are_refused(bad):
    plain = {"observed": {OBSERVATION: np.zeros((2, 1))}, "action": np.zeros((2, 1))}
    with pytest.raises(UserError):
        list(episode_from_rows(Steps(**{**plain, "terminated": True, **bad}), Counts()))


def test_the_range_of_actions_leaves_room_around_a_constant():
    seen = ActionRange()
    seen.add(np.array([[0.0, 3.0], [2.0, 3.0]]))
    seen.add(np.array([[-1.0, 3.0], [np.nan, 3.0]]))
    field = seen.field("Torque.")
    assert (field.low, field.high) == ((-1.0, 2.0), (2.0, 4.0))
    assert seen.within(-1, 3)
    assert not seen.within(-0.5, 3)


def test_names_become_names_of_files():
    assert stored_names({"infos/goal pos": 1, "../x": 2}) == {"infos.goal_pos": 1, "x": 2}


def test_what_an_episode_may_take_is_limited():
    check_size(__file__, "x", (2**27,), np.float64)
    with pytest.raises(UserError, match="GiB"):
        check_size(__file__, "x", (2**40, 2**40), np.float64)


def test_a_field_called_observation_is_one_of_several():
    observed = {name: np.full((3, 1), i) * 1.0 for i, name in enumerate(("goal", "observation"))}
    (episode,) = episode_from_rows(Steps(observed=observed, action=np.zeros((2, 1))), Counts())
    assert episode.observation.tolist() == [[0, 1]] * 3
    assert sorted(episode.state) == ["goal", "observation"]


def test_numbers_come_in_native_order_and_of_at_most_8_bytes():
    given_ = Steps(
        observed={OBSERVATION: np.arange(3, dtype=">f4")[:, None]},
        action=np.ones((2, 1), np.longdouble),
        columns={"environment_reward": np.ones((2, 1), ">i4"), "success": np.ones((2, 1), bool)},
    )
    (episode,) = episode_from_rows(given_, Counts())
    assert (episode.observation.dtype.str, episode.action.dtype) == ("<f4", np.float64)
    assert episode.observation[:, 0].tolist() == [0, 1, 2]
    assert episode.columns["environment_reward"].dtype.str == "<i4"
    assert {values.shape for values in episode.columns.values()} == {(2,)}


def test_several_rewards_per_step_are_refused():
    given_ = replace(steps(3, 2), columns={"environment_reward": np.zeros((2, 3))})
    with pytest.raises(UserError, match="one number per step"):
        list(episode_from_rows(given_, Counts()))


@pytest.mark.parametrize("last", [True, False])
def test_an_end_within_the_steps_ends_an_episode(last):
    terminal, timeout = np.array([False, True, False, False]), np.array([0, 0, 0, 1])
    counts = Counts()
    first, second = (
        episode
        for part in split_at_ends(steps(4 + last, 4), terminal, timeout)
        for episode in episode_from_rows(part, counts)
    )
    assert first.observation[:, 0].tolist() == [0, 1, 2 if last else 1]
    assert second.observation[:, 0].tolist() == [2, 3, 4][: 2 + last]
    assert (first.terminated, second.terminated) == (True, False)
    assert (counts.terminated, counts.truncated, counts.cut) == (1, 1, 0)


def test_end_flags_must_fit_the_actions():
    with pytest.raises(UserError, match="3 terminal flags for 4 actions"):
        list(split_at_ends(steps(5, 4), np.zeros(3), np.zeros(4)))
