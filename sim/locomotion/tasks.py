"""The locomotion tasks; what counts as success stands in each docstring, and is judged at the end.

The sentences are Text2Reward's locomotion behaviours (Xie et al., arXiv:2309.11489) and plain
running. Its criteria are unpublished: these are our own.
"""

from __future__ import annotations

import math

from sim.locomotion import robots
from sim.locomotion.judges import Flip, Forward, LieDown, WaveLeg
from sim.locomotion.task import LocomotionTask


def hopper_forward() -> LocomotionTask:
    """Hop forwards.

    Success: after 8 s the torso's middle is at least 8 m ahead of its start, and the hopper never
    fell: the torso's middle stayed above 0.7 m and its axis within 60 degrees of the vertical. A
    fall ends the episode.
    """
    judge = Forward(distance=8.0, min_height=0.7, min_up=0.5)
    return LocomotionTask("hopper_forward", "hop forward", robots.hopper(), judge, max_steps=1000)


def hopper_front_flip() -> LocomotionTask:
    """Turn a somersault forwards.

    Success: after 2 s the torso has turned forwards by at least a whole turn since the start (turns
    backwards are taken off), and no part of it came within 1 cm of the floor at any control step,
    so that the hopper neither rolled over the floor nor lay there at the end. A touch ends the
    episode.
    """
    return _flip("hopper_front_flip", "do a front flip", 1.0)


def hopper_back_flip() -> LocomotionTask:
    """Turn a somersault backwards.

    Success: as for the front flip, with turns counted backwards.
    """
    return _flip("hopper_back_flip", "do a back flip", -1.0)


def _flip(name: str, instruction: str, direction: float) -> LocomotionTask:
    judge = Flip(direction, half_length=0.2, radius=0.05)
    return LocomotionTask(name, instruction, robots.hopper(), judge, max_steps=250, turns=True)


def ant_forward() -> LocomotionTask:
    """Walk forwards.

    Success: after 20 s the torso is at least 10 m ahead of its start and at most half as far to the
    side as it is ahead, and it never tilted by more than 60 degrees nor came below 0.2 m. A fall
    ends the episode.
    """
    judge = Forward(distance=10.0, min_height=0.2, min_up=0.5, max_drift=0.5)
    return LocomotionTask("ant_forward", "walk forward", robots.ant(), judge, max_steps=400)


def ant_lie_down() -> LocomotionTask:
    """Lie down.

    Success: through the last 1 s of 5 s the torso's middle was at most 0.42 m high (it stands at
    about 0.55 m; its legs bend no lower than 0.36 m), within 10 degrees of level and right side up,
    slower than 0.1 m/s and turning by less than 0.3 rad/s.
    """
    judge = LieDown(
        max_height=0.42,
        min_up=math.cos(math.radians(10)),
        max_speed=0.1,
        max_turning=0.3,
        steps=20,
    )
    return LocomotionTask("ant_lie_down", "lie down", robots.ant(), judge, max_steps=100)


def ant_wave_leg() -> LocomotionTask:
    """Wave the front left leg.

    Success: within 10 s the tip of the front left leg rose at least 4 times from below 0.15 m to
    above 0.25 m, each time while the tips of the other three legs were below 0.15 m; and the torso
    never tilted by more than 30 degrees nor went further than 0.5 m from its start.
    """
    judge = WaveLeg(
        foot="front_left_foot_position",
        others=tuple(f"{leg}_foot_position" for leg in ("back_left", "back_right", "front_right")),
        low=0.15,
        high=0.25,
        other_height=0.15,
        waves=4,
        min_up=math.cos(math.radians(30)),
        max_distance=0.5,
    )
    sentence = "wave the front left leg up and down"
    return LocomotionTask("ant_wave_leg", sentence, robots.ant(), judge, max_steps=200)


def halfcheetah_forward() -> LocomotionTask:
    """Run forwards.

    Success: after 20 s the torso's middle is at least 20 m ahead of its start, and the robot never
    turned over: its back stayed within 90 degrees of level. Turning over ends the episode.
    """
    judge = Forward(distance=20.0, min_height=0.0, min_up=0.0)
    robot = robots.half_cheetah()
    return LocomotionTask("halfcheetah_forward", "run forward", robot, judge, max_steps=400)


def walker2d_forward() -> LocomotionTask:
    """Walk forwards on two legs.

    Success: after 8 s the torso's middle is at least 8 m ahead of its start, and the robot never
    fell: the torso's middle stayed above 0.8 m and its axis within 60 degrees of the vertical. A
    fall ends the episode.
    """
    judge = Forward(distance=8.0, min_height=0.8, min_up=0.5)
    robot = robots.walker2d()
    return LocomotionTask("walker2d_forward", "walk forward", robot, judge, max_steps=1000)
