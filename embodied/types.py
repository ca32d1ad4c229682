"""The vocabulary: plain data and the small protocols that every folder speaks.

Letters for leading axes, used in every docstring: ``S`` seeds, ``N`` or ``B`` transitions or
environments, ``T`` time, ``E`` ensemble members, ``O`` observation size, ``A`` action size.
Units are SI and radians; frames are named. Each protocol has a contract test in
``tests/contracts`` that third parties can run on their own implementations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Array = Any  # a NumPy array or a torch tensor; the stages use NumPy, the engine uses torch
FloatArray = npt.NDArray[np.floating[Any]]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Field:
    """One documented quantity: what a prompt shows, a dataset stores and a robot declares.

    Attributes:
        shape: Shape without leading axes, ``()`` for a number.
        unit: SI unit, ``"1"`` when it has none.
        meaning: One sentence, written for a person or a language model.
        frame: Coordinate frame, ``""`` where none applies.
        low: Smallest value that has a meaning, one number or one per element.
        high: Largest value that has a meaning.
    """

    shape: tuple[int, ...]
    unit: str
    meaning: str
    frame: str = ""
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None


class LazyColumns(Mapping[str, Array]):
    """Columns that are gathered when they are read, so that unread ones cost nothing."""

    def __init__(self, readers: Mapping[str, Callable[[], Array]]) -> None:
        self._readers = dict(readers)
        self._read: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        if name not in self._read:
            self._read[name] = self._readers[name]()
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)


@dataclass(frozen=True)
class Transitions:
    """A frozen columnar batch of transitions ``(s_t, a_t, s_{t+1})``.

    ``state`` and ``next_state`` hold the task's named fields at ``s_t`` and ``s_{t+1}``, each
    ``[N, *field.shape]``; ``columns`` holds anything else per transition (``success``,
    ``intervention``...). Only ``terminated`` stops bootstrapping.
    """

    observation: Array  # float32 [N, O]
    action: Array  # float32 [N, A], in the action's own units
    next_observation: Array  # float32 [N, O]
    terminated: Array  # bool [N]
    truncated: Array  # bool [N]
    state: Mapping[str, Array] = field(default_factory=dict)
    next_state: Mapping[str, Array] = field(default_factory=dict)
    columns: Mapping[str, Array] = field(default_factory=dict)
    reward: Array | None = None  # float32 [N]

    def __len__(self) -> int:
        return int(self.action.shape[0])


@dataclass(frozen=True)
class Score:
    """What a reward gives for a batch: the total and its named terms, float32 ``[N]`` each."""

    total: Array
    terms: Mapping[str, Array]


@runtime_checkable
class Reward(Protocol):
    """Scores transitions: batched, deterministic, finite, one number per transition.

    Whatever scores a state or an image scores ``s_{t+1}``.
    """

    def score(self, batch: Transitions) -> Score:
        """Return the total and the terms of every transition in ``batch``."""

    def provenance(self) -> dict[str, Any]:
        """Return where the reward came from (JSON values): kind, instruction, hashes, model..."""


@dataclass(frozen=True)
class RewardContext:
    """What a maker of rewards (``registry`` kind ``reward``) is given besides its own options.

    Attributes:
        folder: Where it may keep transcript, code and provenance.
        task: The documented task, or None for an environment without one.
        sample: Transitions that a new reward is tried on before it is accepted, or None.
        provider: Makes the configured language model's provider, when one is needed.
        environment: Makes the task's vector environment with at most that many sub-environments,
            for the checks that act in it; None leaves these checks out.
        instruction: The sentence that the reward is for; None for the task's own.
        reference: File of the reward to compare a new one with; None for the task's expert one.
        frames: Makes what draws named states in a look (``embodied.frames``).
        dataset: The dataset that is to be labelled, where there is one.
    """

    folder: Path
    task: Task | None
    sample: Transitions | None
    provider: Callable[[], Any] | None = None
    environment: Callable[[int], Any] | None = None
    instruction: str | None = None
    reference: Path | None = None
    frames: Callable[[int], Any] | None = None
    dataset: Any = None


@dataclass(frozen=True)
class Start:
    """One start of an episode: the physics' initial state and the goal that the task drew."""

    qpos: FloatArray  # [nq] of the task's scene
    goal: FloatArray  # [3] m, world


@runtime_checkable
class Task(Protocol):
    """What prompts, rewards and stages need of a task: its sentence, its documented quantities.

    Whether an episode succeeded is told by the environment (``info["success"]``) and is not among
    the fields: a reward may not be handed the answer.
    """

    @property
    def name(self) -> str:
        """Short name."""

    @property
    def instruction(self) -> str:
        """The sentence used when the user gives none."""

    @property
    def control_hz(self) -> float:
        """Control steps per second."""

    @property
    def max_steps(self) -> int:
        """Control steps of an episode; then it is truncated."""

    @property
    def fields(self) -> Mapping[str, Field]:
        """The documented state: what reward code may read."""

    @property
    def action(self) -> Field:
        """The action; low and high are the bounds of one control step."""

    @property
    def behaviour(self) -> str:
        """Name of the behaviour whose episodes best tell success from failure."""


@runtime_checkable
class RobotTask(Task, Protocol):
    """A task that a robot arm can be put to, apart from any simulator: pure functions of arrays.

    ``measured`` is what a simulator or a robot with a tracker can measure, batched over ``N``:
    ``joint_position`` and ``joint_velocity`` (in ``joints`` order), ``joint_target`` (the last
    commanded one), ``goal`` [N, 3] and, for every name in ``objects``, ``<object>_position`` [N, 3]
    and ``<object>_velocity`` [N, 3] in the world frame.
    """

    scene: Path  # MJCF file with the robot, the objects and a mocap body "target"
    joints: tuple[str, ...]  # names of the actuated joints, in action order
    objects: tuple[str, ...]  # names of the free bodies
    still_speed: float  # m/s; ``still_steps`` counts the control steps in a row below it

    def start(self, rng: np.random.Generator) -> Start:
        """Draw the initial state of one episode."""

    def state(self, measured: Mapping[str, Array]) -> dict[str, Array]:
        """Return every documented field, ``[N, *shape]`` float64, from what is measured."""

    def observe(self, state: Mapping[str, Array]) -> Array:
        """Return the policy's observation, float32 [N, O]."""

    def speed(self, measured: Mapping[str, Array]) -> Array:
        """Return the speed [N] in m/s that has to stay small before the task counts as done."""

    def success(self, state: Mapping[str, Array], still_steps: Array) -> Array:
        """Return bool [N]; ``still_steps`` counts control steps in a row below the still speed."""

    def next_target(self, joint_target: Array, action: Array) -> Array:
        """Return the joint target [N, A] that ``action`` commands, clipped to the joint ranges."""


@runtime_checkable
class Behaviour(Protocol):
    """Acts in a batch of environments to collect data; may read the named fields."""

    def act(
        self, observation: Array, state: Mapping[str, Array], episode_start: BoolArray
    ) -> Array:
        """Return actions float32 [N, A]; ``episode_start`` marks environments that just reset."""


@runtime_checkable
class LearningBehaviour(Behaviour, Protocol):
    """A behaviour that is also told what its actions did, after every step."""

    def observe(self, batch: Transitions) -> None:
        """Take one step of every environment, [N] rows with ``reward``, in the environments' order.

        ``next_observation`` is that of the step itself, also where the episode ended.
        """


@runtime_checkable
class Policy(Protocol):
    """stable-baselines3's prediction signature, so that policies fit both ways."""

    def predict(
        self,
        observation: Array,
        state: tuple[Array, ...] | None = None,
        episode_start: Array | None = None,
        deterministic: bool = False,
    ) -> tuple[Array, tuple[Array, ...] | None]:
        """Return the action for one observation [O] or for a batch [N, O], and the next state."""


@runtime_checkable
class Learner(Protocol):
    """A learning algorithm for ``S`` seeds at once; ``S = 1`` is not a special case."""

    def update(self, data: Any, steps: int) -> dict[str, Array]:
        """Take ``steps`` gradient steps on ``data`` and return metrics, float [S] each."""

    def state_dict(self) -> dict[str, Any]:
        """Return tensors that restore the learner bit for bit on CPU."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""


@runtime_checkable
class Robot(Protocol):
    """LeRobot's method names plus declared units, rate and limits.

    Observation keys are ``<joint>.pos`` (rad), ``<joint>.vel`` (rad/s), ``<object>.position`` and
    ``<object>.velocity`` (arrays [3], world), and ``time`` (s on the robot's monotonic clock, when
    it was measured). Action keys are ``<joint>.pos`` (rad, absolute target).
    """

    name: str
    control_hz: float
    joints: tuple[str, ...]

    @property
    def observation_features(self) -> Mapping[str, Field]:
        """Declared before connection: every key of an observation."""

    @property
    def action_features(self) -> Mapping[str, Field]:
        """Declared before connection: every key of an action, with its limits."""

    @property
    def is_connected(self) -> bool:
        """Whether ``connect`` has succeeded and ``disconnect`` was not called since."""

    def connect(self) -> None:
        """Open the connection; raises UserError where it cannot be opened."""

    def disconnect(self) -> None:
        """Bring the robot to its declared end state and close; safe to call twice."""

    def get_observation(self) -> dict[str, Any]:
        """Return the newest measurement."""

    def send_action(self, action: Mapping[str, float]) -> dict[str, float]:
        """Command joint targets and return those that were really sent."""
