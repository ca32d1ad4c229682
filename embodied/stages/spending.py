"""What a loop spends on its language model, counted over restarts."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from embodied.errors import UserError
from embodied.files import read_json, write_json
from embodied.stages.reward import make_provider

SPENT = "spent.json"  # in the folder of a loop's first round


class SpentError(UserError):
    """The wall time of a loop is used up."""


class Spending:
    """A provider whose caps hold for a whole loop, however often that is started again.

    The calls, tokens and cost that earlier starts kept count as this one's; of the wall time
    (``provider.max_seconds``) the rest is left. A kill forgets what was spent since ``keep``.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self._path = folder / SPENT
        self._config = dict(config)
        self._started = time.monotonic()
        self._earlier: dict[str, Any] = read_json(self._path) if self._path.is_file() else {}

    @cached_property
    def provider(self) -> Any:
        """The provider, made when it is first needed."""
        config = dict(self._config)
        if config.get("max_seconds") is not None:
            left = config["max_seconds"] - self._earlier.get("seconds", 0.0)
            config["max_seconds"] = max(0.0, left)
        made = make_provider(config)
        for name in ("calls", "tokens", "cost"):
            setattr(made.budget, name, self._earlier.get(name, 0))
        return made

    @property
    def seconds(self) -> float:
        """Wall time of the loop, without the time between a kill and the next start."""
        return float(self._earlier.get("seconds", 0.0)) + time.monotonic() - self._started

    def check_time(self) -> None:
        """Refuse to go on where the wall time is used up.

        Raises:
            SpentError: It is.
        """
        limit = self._config.get("max_seconds")
        if limit is not None and self.seconds >= limit:
            raise SpentError(f"the cap of {limit:g} s is reached; raise provider.max_seconds")

    def keep(self) -> None:
        """Write down what was spent."""
        if "provider" in self.__dict__:
            budget = self.provider.budget
            spent = {name: getattr(budget, name) for name in ("calls", "tokens", "cost")}
        else:
            spent = {name: self._earlier.get(name, 0) for name in ("calls", "tokens", "cost")}
        write_json(self._path, {**spent, "seconds": round(self.seconds, 3)})

    def show(self) -> None:
        """Keep and print what was spent, and of how much."""
        self.keep()
        print(f"spent: {self.provider.budget.summary()}", flush=True)
