"""Pictures of states, their looks, and what captions say of them."""

import colorsys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sim
from embodied.frames import make_frames
from embodied.registry import names, resolve
from embodied.render import available
from sim.captions import TOPICS, captions
from sim.frames import ArmFrames
from sim.looks import HELD_OUT_PART, MOVED, PARTS, draw_arm_look, draw_hue, draw_move

needs_gl = pytest.mark.skipif(available() is None, reason="no headless OpenGL here")
SEEDS = st.integers(0, 2**32)


def states(task, count=3, seed=0):
    env = sim.make(task, count)
    _, info = env.reset(seed=seed)
    env.close()
    return info["state"]


# ---- looks ---------------------------------------------------------------------------------------


@given(SEEDS)
def test_hues_of_training_and_of_tests_do_not_meet(seed):
    rng = np.random.default_rng(seed)
    held_out, training = draw_hue(rng, "held_out"), draw_hue(rng, "training")
    assert int(held_out * PARTS) % 3 == HELD_OUT_PART
    assert int(training * PARTS) % 3 != HELD_OUT_PART


@given(SEEDS)
def test_cameras_of_tests_are_moved_farther_than_those_of_training(seed):
    rng = np.random.default_rng(seed)
    for split in ("training", "held_out"):
        low, high = MOVED[split]
        assert low - 1e-12 <= np.linalg.norm(draw_move(rng, split)) <= high + 1e-12
    assert MOVED["training"][1] <= MOVED["held_out"][0]


@given(SEEDS)
def test_every_colour_of_a_look_is_of_its_split(seed):
    look = draw_arm_look(np.random.default_rng(seed), "held_out")
    for red, green, blue in look.colours.values():
        hue, saturation, _ = colorsys.rgb_to_hsv(red, green, blue)
        if saturation > 0.01:  # grey has no hue
            place = (hue * PARTS) % PARTS
            assert min(abs(place - (p + 0.5)) for p in range(HELD_OUT_PART, PARTS, 3)) <= 0.5 + 1e-6


# ---- pictures ------------------------------------------------------------------------------------


@needs_gl
@pytest.mark.parametrize("task", ["cartpole", "reach", "push"])
def test_pictures_are_a_function_of_state_and_look(task):
    made = resolve("task", task)()
    state = states(task)
    plain, same, other = (make_frames(made, (96, 96), look)(state) for look in (0, 0, 1))
    assert plain.shape == (3, 96, 96, 3)
    assert plain.dtype == np.uint8
    np.testing.assert_array_equal(plain, same)
    assert not np.array_equal(plain, other)
    alone = make_frames(made, (96, 96))({name: values[1:2] for name, values in state.items()})
    np.testing.assert_array_equal(alone[0], plain[1])


def test_what_the_fields_do_not_tell_is_not_drawn():
    drawn = {name for name in names("task") if not name.startswith("maniskill")}
    drawn = {name for name in drawn if make_frames(resolve("task", name)()) is not None}
    assert {"cartpole", "reach", "push"} <= drawn
    assert not {"hopper_forward", "ant_forward"} & drawn
    assert make_frames(None) is None


@needs_gl
def test_both_cameras_see_where_the_target_is():
    task = resolve("task", "reach")()
    frames = ArmFrames(task, (96, 96))
    state = {name: np.repeat(values[:1], 3, 0) for name, values in states("reach").items()}
    state["target_position"] = np.array(
        [[0.16, 0.12, 0.05], [0.16, -0.12, 0.05], [0.16, 0.12, 0.12]]
    )
    left, right, high = frames(state).astype(int)
    changed = [np.abs(left - other).sum(-1) > 30 for other in (right, high)]
    assert changed[0][:48].any()  # from above
    assert changed[0][48:].any()  # from the front
    green = (high[..., 1] - high[..., 0] > 25) & (high[..., 1] - high[..., 2] > 10)
    lower = (left[..., 1] - left[..., 0] > 25) & (left[..., 1] - left[..., 2] > 10)
    assert np.argwhere(green[48:])[:, 0].mean() < np.argwhere(lower[48:])[:, 0].mean()
    frames.close()


@needs_gl
def test_a_look_changes_every_part_and_can_be_taken_off():
    frames = ArmFrames(resolve("task", "push")(), (96, 96))
    state = states("push")
    before = frames(state)
    frames.wear(draw_arm_look(np.random.default_rng(3), "held_out"))
    worn = frames(state)
    assert (np.abs(worn.astype(int) - before).sum(-1) > 10).mean() > 0.3
    frames.wear(type(draw_arm_look(np.random.default_rng(3), "held_out"))({}))
    np.testing.assert_array_equal(frames(state), before)
    frames.close()


# ---- captions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", list(TOPICS))
def test_every_state_has_a_true_caption_of_every_topic(task):
    for topic, item in TOPICS[task].items():
        values = np.concatenate([item.measure(states(task, 16)), np.linspace(0, 24, 50)])
        true = [c.error(values) == 0 for c in captions(task) if c.topic == topic]
        assert np.any(true, axis=0).all()


@pytest.mark.parametrize("task", list(TOPICS))
def test_the_tasks_own_sentence_is_the_first_caption_and_true_at_the_goal(task):
    first = captions(task)[0]
    assert first.text == resolve("task", task)().instruction
    assert first.error(np.zeros(1))[0] == 0
    assert first.error(np.array([10.0]))[0] > 5


def test_an_error_is_the_distance_to_what_would_be_true():
    leaning = next(c for c in captions("cartpole") if c.text == "the pole leans to the left")
    np.testing.assert_allclose(leaning.error(np.array([-10.0, -17.0, 4.0])), [0.0, 2.0, 10.0])
