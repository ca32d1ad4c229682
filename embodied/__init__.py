"""embodied-stack: from a sentence to a guarded robot policy.

Importing this package brings in neither torch nor mujoco nor hydra.
"""

from embodied.errors import UserError
from embodied.types import (
    Behaviour,
    Field,
    Learner,
    Policy,
    Reward,
    Robot,
    RobotTask,
    Score,
    Start,
    Task,
    Transitions,
)

__version__ = "0.2.0"
__all__ = [
    "Behaviour",
    "Field",
    "Learner",
    "Policy",
    "Reward",
    "Robot",
    "RobotTask",
    "Score",
    "Start",
    "Task",
    "Transitions",
    "UserError",
]
