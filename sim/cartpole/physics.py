"""The equations of a pole on a cart, on arrays over environments.

Barto, Sutton and Anderson, "Neuronlike adaptive elements that can solve difficult learning control
problems" (1983), without friction, with the constants and the Euler steps of Gymnasium's
CartPole-v1. As in RL-VLM-F's task (Wang et al., arXiv:2402.03681) nothing ends an episode: stops
hold the pole and the cart instead.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.floating[Any]]

GRAVITY = 9.8  # m/s^2
CART_MASS = 1.0  # kg
POLE_MASS = 0.1  # kg
HALF_LENGTH = 0.5  # m, from the joint to the pole's centre of mass
FORCE = 10.0  # N, of an action of 1
STEP = 0.02  # s
MAX_ANGLE = math.radians(30)  # the pole's stops
MAX_POSITION = 1.92  # m, the cart's stops: 0.8 of the half-width of Gymnasium's track
START = 0.05  # every number of a start lies within this of zero

TOTAL_MASS = CART_MASS + POLE_MASS
POLE_MOMENT = POLE_MASS * HALF_LENGTH


def step(state: Float, force: Float) -> Float:
    """Return the states [N, 4] after one Euler step of 0.02 s.

    A stop holds the position or the angle alone: the velocity goes on by the same equations, so
    that what has pressed against a stop for long comes off it late. So it is in the code of
    RL-VLM-F's task, whose published returns are compared with.

    Args:
        state: [N, 4], position of the cart in m, its velocity in m/s, angle of the pole from
            upright in rad, its velocity in rad/s. Positive angles lean towards positive positions.
        force: [N], N on the cart.
    """
    # Rows of their own, since NumPy's sine may round strided numbers otherwise.
    position, velocity, angle, turning = np.ascontiguousarray(state.T)
    sine, cosine = np.sin(angle), np.cos(angle)
    pushed = (force + POLE_MOMENT * turning**2 * sine) / TOTAL_MASS
    inertia = HALF_LENGTH * (4.0 / 3.0 - POLE_MASS * cosine**2 / TOTAL_MASS)
    angular = (GRAVITY * sine - cosine * pushed) / inertia
    linear = pushed - POLE_MOMENT * angular * cosine / TOTAL_MASS
    columns = (
        np.clip(position + STEP * velocity, -MAX_POSITION, MAX_POSITION),
        velocity + STEP * linear,
        np.clip(angle + STEP * turning, -MAX_ANGLE, MAX_ANGLE),
        turning + STEP * angular,
    )
    return np.stack(columns, axis=1)
