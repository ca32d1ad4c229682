"""Images of a pole on a cart, many at once, in NumPy alone.

Every shape is a product of two slabs, or a disc, and every pixel takes of a shape's colour the
share that the shape covers: exact for slabs along the image's axes, within a per cent for the
tilted pole. The camera follows the cart, as in RL-VLM-F's images (Wang et al., arXiv:2402.03681):
what the task is about, the angle, fills the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from embodied.errors import at_least
from embodied.types import Array
from sim.cartpole.physics import HALF_LENGTH, MAX_POSITION
from sim.looks import Split, draw_colour, draw_move

Float = npt.NDArray[np.floating[Any]]
Colour = tuple[int, int, int]  # red, green, blue, 0-255

# In m from the pole's joint, x to the right and y upwards.
VIEW = 1.6  # the shorter side of an image
CENTRE = 0.45  # height of the image's middle
POLE_LENGTH, POLE_WIDTH = 2 * HALF_LENGTH, 0.08
CART = (-0.2, 0.2, -0.18, 0.06)  # left, right, bottom, top
TRACK = (-0.20, -0.18)  # bottom, top; it ends where the cart's sides can come
TICKS = (-0.26, -0.20)  # the same of the marks below it, which show how the cart moves
TICK_SPACING, TICK_WIDTH = 0.5, 0.02
PIXELS_AT_ONCE = 2**16  # so that what is computed on stays in the cache


@dataclass(frozen=True)
class Style:
    """Colours and the camera's place; the defaults are close to Gymnasium's.

    Attributes:
        background: Colour of what is behind everything.
        track: Colour of the track and of its marks, every half metre.
        cart: Colour of the cart.
        pole: Colour of the pole.
        joint: Colour of the disc where they meet.
        camera: Where the camera is moved to from where it stands, to the right and upwards, in m.
    """

    background: Colour = (255, 255, 255)
    track: Colour = (90, 90, 90)
    cart: Colour = (0, 0, 0)
    pole: Colour = (202, 152, 101)
    joint: Colour = (129, 132, 203)
    camera: tuple[float, float] = (0.0, 0.0)


def draw_style(rng: np.random.Generator, split: Split) -> Style:
    """Draw a style of the split's hues and camera moves: the pole is darker than what is behind."""
    ranges = {
        "background": ((0.0, 0.25), (0.8, 1.0)),
        "track": ((0.0, 0.6), (0.1, 0.5)),
        "cart": ((0.0, 1.0), (0.0, 0.4)),
        "pole": ((0.4, 1.0), (0.35, 0.7)),
        "joint": ((0.3, 1.0), (0.3, 0.9)),
    }
    drawn = {name: _bytes(draw_colour(rng, split, *bounds)) for name, bounds in ranges.items()}
    # The arms' scenes are about a third as wide.
    right, up, _ = (3.0 * moved for moved in draw_move(rng, split))
    return Style(**drawn, camera=(right, up))


def _bytes(colour: tuple[float, float, float]) -> Colour:
    red, green, blue = (round(255 * item) for item in colour)
    return red, green, blue


def draw(
    values: Array, size: tuple[int, int] = (64, 64), style: Style | None = None
) -> npt.NDArray[np.uint8]:
    """Return the images uint8 [N, H, W, 3] of states.

    An image is a pure function of its own state, whatever else is drawn beside it.

    Args:
        values: States [N, 4], in the order of the task's fields, as observations are.
        size: Width and height in pixels; the shorter side shows 1.6 m.
        style: Colours and camera; by default those of ``Style``.

    Raises:
        UserError: A size is not positive.
    """
    width, height = size
    at_least(1, {"width": width, "height": height})
    style = Style() if style is None else style
    images = np.empty((len(values), height, width, 3), dtype=np.uint8)
    rows = max(1, PIXELS_AT_ONCE // (width * height))
    for first in range(0, len(values), rows):
        part = np.asarray(values[first : first + rows], dtype=np.float64)
        _paint(images[first : first + rows], part, style)
    return images


def _paint(images: npt.NDArray[np.uint8], values: Float, style: Style) -> None:
    """Draw states [N, 4] into images [N, H, W, 3]."""
    _, height, width, _ = images.shape
    scale = min(width, height) / VIEW  # pixels per m
    x = (np.arange(width) + 0.5 - width / 2) / scale + style.camera[0]
    y = (height / 2 - np.arange(height) - 0.5) / scale + CENTRE + style.camera[1]
    position, angle = np.ascontiguousarray(values[:, (0, 2)].T)
    layers = (
        (_track(x, y, position, scale), style.track),
        (_cart(x, y, scale), style.cart),
        (_pole(x, y, angle, scale), style.pole),
        (_joint(x, y, scale), style.joint),
    )
    for channel in range(3):
        plane = np.full(images.shape[:3], style.background[channel], dtype=np.float32)
        for share, colour in layers:
            plane += share * (colour[channel] - plane)
        images[..., channel] = plane + np.float32(0.5)


def _slab(distance: Float, half: float, scale: float) -> Float:
    """Return the share of a pixel, float32, that is within ``half`` of a slab's middle.

    A slab that is thinner than a pixel covers at most its own width of it.
    """
    inside = np.abs(distance, dtype=np.float32)
    np.subtract(np.float32(half + 0.5 / scale), inside, out=inside)
    inside *= np.float32(scale)
    return np.clip(inside, 0.0, min(1.0, 2 * half * scale), out=inside)


def _between(place: Float, low: float, high: float, scale: float) -> Float:
    """Return the share of a pixel that is between two places."""
    return _slab(place - (low + high) / 2, (high - low) / 2, scale)


def _track(x: Float, y: Float, position: Float, scale: float) -> Float:
    """Return the shares [N, H, W] of the track, which the camera passes along."""
    at = x + position[:, None]
    end = MAX_POSITION + CART[1]
    track = _between(at, -end, end, scale)
    ticks = _slab(at - TICK_SPACING * np.round(at / TICK_SPACING), TICK_WIDTH / 2, scale) * track
    along, below = (_between(y, *heights, scale)[None, :, None] for heights in (TRACK, TICKS))
    return track[:, None] * along + ticks[:, None] * below


def _cart(x: Float, y: Float, scale: float) -> Float:
    """Return the shares [H, W] of the cart, which the camera follows."""
    return _between(y, *CART[2:], scale)[:, None] * _between(x, *CART[:2], scale)


def _pole(x: Float, y: Float, angle: Float, scale: float) -> Float:
    """Return the shares [N, H, W] of the pole: from its lower end, by the joint, to its tip."""
    sine, cosine = (item.astype(np.float32)[:, None] for item in (np.sin(angle), np.cos(angle)))
    x, y = x.astype(np.float32), y.astype(np.float32)
    middle, half = (POLE_LENGTH - POLE_WIDTH / 2) / 2, (POLE_LENGTH + POLE_WIDTH / 2) / 2
    along = (sine * x)[:, None] + (cosine * y - np.float32(middle))[:, :, None]
    across = (cosine * x)[:, None] - (sine * y)[:, :, None]
    return _slab(along, half, scale) * _slab(across, POLE_WIDTH / 2, scale)


def _joint(x: Float, y: Float, scale: float) -> Float:
    """Return the shares [H, W] of the disc at the joint, as wide as the pole."""
    return _slab(np.hypot(x, y[:, None]), POLE_WIDTH / 2, scale)
