"""What a ManiSkill task is: its environment there, a sentence, documented fields, an action."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from embodied.types import Field
from sim.maniskill.quantities import Quantity

FINGER = (-0.01, 0.04)  # m, targets of a finger joint of the Panda; below 0 it presses
FETCH_FINGER = (-0.01, 0.05)  # m
STEP = 0.1  # m or rad, largest change of a target per control step

TOOL_ACTION = Field(
    shape=(4,),
    unit="m",
    meaning="Where the tool centre point should go from where it is (x, y, z; the gripper keeps "
    "its orientation), and the target of each finger joint: 0.04 is open, -0.01 presses the "
    "fingers together.",
    frame="world",
    low=(-STEP,) * 3 + FINGER[:1],
    high=(STEP,) * 3 + FINGER[1:],
)
JOINT_ACTION = Field(
    shape=(8,),
    unit="rad; the last m",
    meaning="Where the seven joints of the arm should go from where they are, and the target of "
    "each finger joint: 0.04 is open, -0.01 presses the fingers together.",
    low=(-STEP,) * 7 + FINGER[:1],
    high=(STEP,) * 7 + FINGER[1:],
)
FETCH_ACTION = Field(
    shape=(13,),
    unit="rad; fingers and torso m; base m/s and rad/s",
    meaning="Where the seven joints of the arm should go from where they are; the target of each "
    "finger joint (0.05 is open, -0.01 presses the fingers together); where head pan, head tilt "
    "and torso should go from where they are; the base's velocity forwards and its turning rate.",
    low=(-STEP,) * 7 + FETCH_FINGER[:1] + (-STEP,) * 3 + (-1.0, -3.14),
    high=(STEP,) * 7 + FETCH_FINGER[1:] + (STEP,) * 3 + (1.0, 3.14),
)


@dataclass(frozen=True)
class ManiSkillTask:
    """A ``Task`` that ManiSkill simulates.

    Attributes:
        name: Short name.
        id: ManiSkill's own name of the environment.
        instruction: The sentence used when the user gives none.
        quantities: The documented fields with their readers; the success, which is ManiSkill's
            ``evaluate()["success"]``, is not among them.
        action: In the units of ManiSkill's controller; low and high are its bounds.
        controller: ManiSkill's name of the controller that takes the action.
        max_steps: Control steps of an episode, ManiSkill's own number.
        reward: Which of ManiSkill's rewards the environment gives.
        begins_alone: Whether ManiSkill can begin an episode in one of many environments on a GPU.
        control_hz: Control steps per second, ManiSkill's own number.
        behaviour: Whose episodes best tell success from failure.
    """

    name: str
    id: str
    instruction: str
    quantities: Mapping[str, Quantity]
    action: Field
    controller: str
    max_steps: int
    reward: str = "normalized_dense"
    begins_alone: bool = True
    control_hz: float = 20.0
    behaviour: str = "random"

    @property
    def fields(self) -> Mapping[str, Field]:
        """The documented fields."""
        return {name: quantity.field for name, quantity in self.quantities.items()}
