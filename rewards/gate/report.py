"""All measures of a reward, a verdict for each and one for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

from embodied.errors import UserError
from embodied.types import FloatArray, Reward, Task, Transitions
from rewards.checks import scored, to_numpy
from rewards.gate import bounds
from rewards.gate.distances import epic_distance, epic_form, starc_distance, starc_form
from rewards.gate.edges import not_finite
from rewards.gate.exploit import search
from rewards.gate.ordering import Outcomes, outcomes
from rewards.gate.terms import explained, saturation
from rewards.gate.verdict import Outcome, Verdict, softened, undecided

# What the task's success and its reference reward tell is evidence and no ground to refuse where
# the sentence asks for something else than the task does.
OF_THE_TASK = ("ordering", "correlation", "epic", "starc", "exploit")


@dataclass(frozen=True)
class Report:
    """The verdicts on a reward, by measure."""

    measures: Mapping[str, Verdict]

    @property
    def verdict(self) -> Outcome:
        """The worst verdict; undecided where nothing is wrong but ordering could not be told.

        The other measures may stay undecided, for want of a reference or an environment.
        """
        found = {item.verdict for item in self.measures.values()}
        if "fail" in found or "warn" in found:
            return "fail" if "fail" in found else "warn"
        return self.measures["ordering"].verdict

    @property
    def failures(self) -> list[str]:
        """A sentence for each measure that refuses the reward."""
        return [item.sentence for item in self.measures.values() if item.verdict == "fail"]

    def json(self) -> dict[str, Any]:
        """Return it as JSON values: the overall verdict and the measures."""
        return {
            "verdict": self.verdict,
            "measures": {name: item.json() for name, item in self.measures.items()},
        }


class Gate:
    """Measures rewards of one task: against its success, a reference, and by acting.

    Args:
        task: Whose fields the rewards read.
        sample: Transitions ``[N]`` of it; ordering needs the columns ``success`` and ``episode``.
        make_environment: Makes the task's vector environment with at most that many
            sub-environments; None leaves the search for exploits undecided.
        reference: What EPIC and STARC compare with; None leaves them undecided.
        own_sentence: Whether the rewards are for the task's own sentence. If not, what compares
            with the task's success or reference warns at most.
    """

    def __init__(
        self,
        task: Task,
        sample: Transitions,
        *,
        make_environment: Callable[[int], Any] | None = None,
        reference: Reward | None = None,
        own_sentence: bool = True,
    ) -> None:
        self._task, self._sample = task, sample
        self._make_environment, self._reference = make_environment, reference
        self._own_sentence = own_sentence
        self._reports: WeakKeyDictionary[Reward, Report] = WeakKeyDictionary()

    def report(self, reward: Reward) -> Report:
        """Measure a reward that passed ``rewards.checks``; once, however often it is asked for."""
        if reward not in self._reports:
            self._reports[reward] = Report(self._measure(reward))
        return self._reports[reward]

    def _measure(self, reward: Reward) -> dict[str, Verdict]:
        sample = self._sample
        total, terms = scored(reward, sample)
        success, episode = (sample.columns.get(name) for name in ("success", "episode"))
        flags = None if success is None else to_numpy(success).astype(bool)
        found = None
        if flags is not None and episode is not None:
            found = outcomes(total, flags, to_numpy(episode))
        measures = {
            "edges": bounds.edges(*not_finite(reward, self._task, sample)),
            "ordering": bounds.ordering(found),
            "correlation": bounds.correlation(total, flags, found),
            **self._distances(reward),
            "saturation": bounds.saturation(
                {name: saturation(values) for name, values in {"": total, **terms}.items()}
            ),
            "dominance": bounds.dominance(explained(total, terms)),
        }
        # Acting costs most, and a reward that is refused already needs none of it.
        measures = {name: self._weighed(name, item) for name, item in measures.items()}
        if any(item.verdict == "fail" for item in measures.values()):
            acted = undecided("not searched for, since other measures refuse the reward")
        else:
            acted = self._exploit(reward, found)
        return {**measures, "exploit": self._weighed("exploit", acted)}

    def _weighed(self, name: str, item: Verdict) -> Verdict:
        return softened(item) if name in OF_THE_TASK and not self._own_sentence else item

    def _distances(self, reward: Reward) -> dict[str, Verdict]:
        if self._reference is None:
            missing = undecided("there is no reference reward to compare with", bounds.UNRELATED)
            return {"epic": missing, "starc": missing}
        try:
            epic_reference, starc_reference = self._reference_forms
            epic = epic_distance(epic_form(reward, self._sample), epic_reference)
            starc = starc_distance(starc_form(reward, self._sample), starc_reference)
        except UserError as error:  # the sample lacks a field of the reference
            missing = undecided(f"not comparable: {error}", bounds.UNRELATED)
            return {"epic": missing, "starc": missing}
        return {"epic": bounds.distance("EPIC", epic), "starc": bounds.distance("STARC", starc)}

    @cached_property
    def _reference_forms(self) -> tuple[FloatArray, FloatArray]:
        assert self._reference is not None
        return epic_form(self._reference, self._sample), starc_form(self._reference, self._sample)

    def _exploit(self, reward: Reward, known: Outcomes | None) -> Verdict:
        if self._make_environment is None:
            return undecided("there is no environment here to act in")
        if self._task.action.low is None or self._task.action.high is None:
            return undecided("the action has no documented bounds to search within")
        found = search(reward, self._make_environment, self._task.action, self._task.max_steps)
        return bounds.exploit(found, known)
