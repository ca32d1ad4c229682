"""One call of ``embodied improve``: the run, what was asked, and what every round needs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from embodied import rounds
from embodied.config import build, load
from embodied.environments import EnvConfig, make_environment, require_task
from embodied.errors import UserError
from embodied.files import read_json
from embodied.formats import open_dataset
from embodied.rounds import Round
from embodied.runs import RunFolder
from embodied.stages import label, train
from embodied.stages.labelled import DataConfig
from embodied.stages.reward import sample_transitions
from embodied.stages.spending import Spending
from embodied.types import RewardContext, Task, Transitions

CHECK_TRANSITIONS = 4096  # stored transitions that a program is checked on
CHECK_EPISODES = 128  # episodes that it is checked on where there is no data


@dataclass(frozen=True)
class ImproveConfig:
    """How a reward is improved."""

    provider: dict[str, Any]  # short name and options of the language model's provider
    data: DataConfig  # datasets to train on, for a run that holds no training yet
    rounds: int | None = None  # of reflection on training curves; None with a person's sentence
    samples: int = 4  # programs asked for in each of them
    max_attempts: int = 3  # answers that each program may take
    steps: int | None = None  # updates of a training that the run does not hold yet
    seeds: tuple[int, ...] | None = None  # training seeds of such a training
    measurements: bool | None = None  # tell what was measured; None: unless replies are recorded


@dataclass(frozen=True)
class Loop:
    """One call of ``improve``: the run, what was asked, and what every round needs."""

    root: RunFolder
    config: ImproveConfig
    said: str  # a person's sentence; "" for reflection
    first: int  # number of its first round
    env: EnvConfig
    training: train.TrainConfig | None  # how every round is trained; None: not at all
    spending: Spending

    @property
    def last(self) -> int:
        """Number of its last round."""
        return self.first + (self.config.rounds or 1) - 1

    @property
    def task(self) -> Task:
        """The task that the reward is for."""
        return require_task(self.env.title)

    @property
    def instruction(self) -> str:
        """The task in the words that the first program was asked for with."""
        told = read_json(self.root.path / "reward" / "provenance.json").get("instruction")
        return str(told) if told else self.task.instruction

    def folder(self, number: int) -> Path:
        """Return the folder of a round."""
        return self.root.path / rounds.ROUNDS / str(number)

    def earlier(self, number: int) -> list[Round]:
        """Return the rounds before one."""
        return [item for item in rounds.read_rounds(self.root.path) if item.number < number]

    def context(self, folder: Path) -> RewardContext:
        """Return what a maker of programs is given."""
        return RewardContext(
            folder,
            self.task,
            self._checked_on(),
            provider=lambda: self.spending.provider,
            environment=lambda num_envs: make_environment(self.env, num_envs),
            instruction=self.instruction,
        )

    def _checked_on(self) -> Transitions:
        if self.training is None or not self.training.data.paths:
            return sample_transitions(self.env, CHECK_EPISODES, 0)
        data = self.training.data
        return label.check_sample(open_dataset(data.paths[0], data.fields), CHECK_TRANSITIONS)


def begin(root: RunFolder, said: str, config: ImproveConfig, first: int) -> Loop:
    """Return a loop, whose training is that of the run or one on the data given."""
    command, values = root.config()
    training = training_of(command, values, config)
    env = training.env if training else build(EnvConfig, values.get("env", {}), "env")
    if config.rounds is not None and training is None:
        raise UserError(
            "reflection trains its candidates; name a run that was trained, or give data=FOLDER"
        )
    folder = root.path / rounds.ROUNDS / str(first)
    return Loop(root, config, said, first, env, training, Spending(folder, config.provider))


def training_of(
    command: str, values: dict[str, Any], config: ImproveConfig
) -> train.TrainConfig | None:
    """Return the training that every round repeats, or None for a run of ``reward`` alone."""
    if command == "train":
        return build(train.TrainConfig, values)
    if not config.data.paths:
        return None
    own = load("train", [], **{"data.paths": []}) | {"env": values["env"], "name": "improve"}
    own["data"] = asdict(config.data)
    own |= {key: item for key in ("steps", "seeds") if (item := getattr(config, key)) is not None}
    return build(train.TrainConfig, own)
