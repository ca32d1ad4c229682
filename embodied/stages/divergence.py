"""Networks that became NaN: they are left out and named, the ones beside them go on.

Stacked networks share no number, so one that diverges spoils no other. It stays NaN, gets no policy
package, and the result says that it is missing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from embodied.errors import UserError
from embodied.files import write_json
from embodied.results import DIVERGED, diverged
from embodied.runs import RunFolder


class Divergence:
    """Which seeds of which arms of a run diverged, and at which update; kept in the run folder."""

    def __init__(self, run: RunFolder, seeds: Sequence[int], resumed_at: int) -> None:
        self._run, self._seeds = run, list(seeds)
        # What a kill made undone has not happened yet.
        self.found = {
            arm: kept
            for arm, items in diverged(run).items()
            if (kept := {seed: step for seed, step in items.items() if step <= resumed_at})
        }
        if self.found != diverged(run):
            write_json(run.path / DIVERGED, self.found)

    def note(self, metrics: Mapping[str, Sequence[float]], step: int) -> None:
        """Look for networks that just diverged and say so.

        Raises:
            UserError: No seed of the policy is left; the last sound checkpoint is not overwritten.
        """
        fresh = {
            (key.partition("/")[0], self._seeds[j])
            for key, values in metrics.items()
            for j, value in enumerate(values)
            if not math.isfinite(value)
        }
        for arm, seed in sorted(item for item in fresh if not self.has(*item)):
            self.found.setdefault(arm, {})[str(seed)] = step
            print(f"{arm}: seed {seed} diverged by update {step} and is left out", flush=True)
            write_json(self._run.path / DIVERGED, self.found)
        if len(self.found.get("policy", {})) == len(self._seeds):
            raise UserError(
                f"every seed of the policy became NaN or infinite by update {step} of "
                f"{self._run.path}; train again with a lower policy.learning_rate or "
                "policy.temperature"
            )

    def has(self, arm: str, seed: int) -> bool:
        """Return whether that network diverged."""
        return str(seed) in self.found.get(arm, {})


def without_nan(line: Mapping[str, object]) -> dict[str, object]:
    """Return a line of metrics with null where JSON has no number for it."""

    def sound(value: object) -> object:
        if isinstance(value, list):
            return [sound(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return {key: sound(value) for key, value in line.items()}
