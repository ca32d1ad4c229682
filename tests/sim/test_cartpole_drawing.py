"""CartPole's images: shapes lie where geometry says, edges are smooth, styles differ."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodied.errors import UserError
from sim.cartpole.drawing import Style, draw, draw_style
from sim.cartpole.environment import CartPoleEnv
from sim.cartpole.task import CartPoleTask

WHITE, BLACK = (255, 255, 255), (0, 0, 0)
# Nothing but the pole is seen; the disc at the joint lies within it.
POLE_ALONE = Style(WHITE, WHITE, WHITE, pole=BLACK, joint=BLACK)
POLE_AREA = 0.08 * 1.04  # m^2


def states(*angles, position=0.0):
    values = np.zeros((len(angles), 4))
    values[:, 0], values[:, 2] = position, angles
    return values


def pixel(x, y, size, camera=(0.0, 0.0)):
    """Return (row, column) of a point in m from the joint: 1.6 m, the middle 0.45 m above it."""
    width, height = size
    scale = min(size) / 1.6
    column = width / 2 + (x - camera[0]) * scale
    row = height / 2 - (y - 0.45 - camera[1]) * scale
    return int(row), int(column)


ANGLES = st.floats(-np.pi / 6, np.pi / 6)


@settings(max_examples=40, deadline=None)
@given(angle=ANGLES, camera=st.tuples(st.floats(-0.1, 0.1), st.floats(-0.1, 0.1)))
@pytest.mark.parametrize("size", [(320, 320), (480, 360)])
def test_the_poles_tip_is_where_geometry_says(size, angle, camera):
    style = Style(camera=camera)
    image = draw(states(angle), size, style)[0]
    direction = np.array([np.sin(angle), np.cos(angle)])
    margin = 2.5 / (min(size) / 1.6)  # m, of two and a half pixels
    for distance in (0.3, 0.6, 1.0 - margin):
        assert tuple(image[pixel(*(distance * direction), size, camera)]) == style.pole
    across = np.array([direction[1], -direction[0]]) * (0.04 + margin)
    for point in ((1.0 + margin) * direction, 0.7 * direction + across, 0.7 * direction - across):
        assert tuple(image[pixel(*point, size, camera)]) == style.background


@settings(max_examples=60, deadline=None)
@given(angle=ANGLES, camera=st.tuples(st.floats(-0.1, 0.1), st.floats(-0.05, 0.05)))
@pytest.mark.parametrize("size", [(64, 64), (224, 224)])
def test_smooth_edges_keep_the_poles_area_and_middle(size, angle, camera):
    """Wherever the edges fall between pixels, the darkness adds up to the same."""
    image = draw(states(angle), size, replace(POLE_ALONE, camera=camera))[0, :, :, 0]
    dark, scale = 1 - image / 255.0, size[0] / 1.6
    assert dark.sum() / scale**2 == pytest.approx(POLE_AREA, rel=0.015)
    rows, columns = np.mgrid[: size[1], : size[0]] + 0.5
    x = np.average(columns - size[0] / 2, weights=dark) / scale + camera[0]
    y = np.average(size[1] / 2 - rows, weights=dark) / scale + 0.45 + camera[1]
    middle = 0.48 * np.array([np.sin(angle), np.cos(angle)])  # between -0.04 m and 1 m
    np.testing.assert_allclose((x, y), middle, atol=0.25 / scale)


def test_a_small_turn_changes_the_image_a_little():
    near, far = np.radians(0.5), np.radians(10)
    upright, turned, fallen = draw(states(0.0, near, far)).astype(float)
    slight, large = (np.abs(image - upright).sum() for image in (turned, fallen))
    assert 0 < slight < 0.3 * large


def test_cart_joint_and_track_are_where_they_should_be():
    size, style = (320, 320), Style()
    image = draw(states(0.0), size, style)[0]
    assert tuple(image[pixel(0.0, 0.0, size)]) == style.joint
    for x, y in ((-0.19, 0.05), (0.19, 0.05), (-0.19, -0.17), (0.19, -0.17), (0.0, -0.1)):
        assert tuple(image[pixel(x, y, size)]) == style.cart
    for x, y in ((-0.21, 0.0), (0.21, 0.0), (0.15, 0.075)):
        assert tuple(image[pixel(x, y, size)]) == style.background
    for x in (-0.7, -0.3, 0.3, 0.7):
        assert tuple(image[pixel(x, -0.19, size)]) == style.track


def test_marks_pass_by_and_the_track_ends():
    size, style = (320, 320), Style()

    def track_at(position, x, y):
        image = draw(states(0.0, position=position), size, style)[0]
        return tuple(image[pixel(x, y, size)]) == style.track

    # A mark stands at every half metre; seen from the cart at 0.3 m the one at 0.5 m is at 0.2 m.
    assert track_at(0.0, 0.5, -0.23)
    assert track_at(0.3, 0.2, -0.23)
    assert not track_at(0.3, 0.5, -0.23)
    assert track_at(1.92, 0.18, -0.19)
    assert not track_at(1.92, 0.23, -0.19)
    assert not track_at(-1.92, -0.23, -0.19)


def test_a_moved_camera_shifts_the_image():
    here = draw(states(0.2)).astype(int)
    right = draw(states(0.2), style=Style(camera=(0.1, 0.0))).astype(int)
    above = draw(states(0.2), style=Style(camera=(0.0, 0.1))).astype(int)
    # 0.1 m are 4 of 64 pixels.
    assert np.abs(right[:, :, :-4] - here[:, :, 4:]).max() <= 1
    assert np.abs(above[:, 4:] - here[:, :-4]).max() <= 1


def test_an_image_does_not_depend_on_what_is_drawn_beside_it():
    rng = np.random.default_rng(0)
    values = rng.uniform(-0.5, 0.5, (70, 4))
    together = draw(values)
    assert together.shape == (70, 64, 64, 3)
    assert together.dtype == np.uint8
    for index in (0, 15, 16, 69):
        np.testing.assert_array_equal(draw(values[index : index + 1])[0], together[index])
    np.testing.assert_array_equal(draw(values[:, :])[::-1], draw(values[::-1]))


def test_sizes():
    assert draw(states(0.1, 0.2), (40, 30)).shape == (2, 30, 40, 3)
    assert draw(np.zeros((0, 4))).shape == (0, 64, 64, 3)
    for size in ((0, 64), (64, -1)):
        with pytest.raises(UserError, match="at least 1"):
            draw(states(0.1), size)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), angle=ANGLES, split=st.sampled_from(("training", "held_out")))
def test_a_drawn_style_shows_the_pole(seed, angle, split):
    style = draw_style(np.random.default_rng(seed), split)
    image = draw(states(angle), (320, 320), style)[0].astype(int)
    near_tip = pixel(0.95 * np.sin(angle), 0.95 * np.cos(angle), (320, 320), style.camera)
    assert tuple(image[near_tip]) == style.pole
    assert np.subtract(style.background, style.pole).sum() >= 60


def test_styles_differ_and_follow_from_the_generator():
    first, same, other = (draw_style(np.random.default_rng(seed), "training") for seed in (1, 1, 2))
    assert first == same
    assert not np.array_equal(*(draw(states(0.1), style=style) for style in (first, other)))


def test_the_environment_shows_its_own_states():
    env = CartPoleEnv(CartPoleTask(), 3, seed=4)
    observation, _ = env.reset()
    for _ in range(20):
        observation, _, _, _, _ = env.step(np.ones((3, 1)))
    one = env.render(1, width=64, height=48)
    assert one.shape == (48, 64, 3)
    np.testing.assert_allclose(one, draw(observation, (64, 48))[1], atol=1)
    everything = env.render()
    assert [image.shape for image in everything] == [(240, 320, 3)] * 3
    assert not np.array_equal(everything[0], everything[1])
