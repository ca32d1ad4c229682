"""What the numbers say, in plain sentences that claim no more than the intervals allow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from embodied.report.content import Estimate, Row
from embodied.report.text import ABSENT, interval, number, percent

MEANINGS = {
    "policy": "What this run trained, evaluated on episodes that it never trained on.",
    "true_reward": "The same algorithm on the same data with the task's own reward in place of "
    "this one: about what the data and the algorithm allow.",
    "bc": "Imitates the data and reads no reward. A policy that only ties with it owes its result "
    "to the demonstrations.",
    "sft": "Imitates the preferred segments alone. A policy that only ties with it owes its result "
    "to which segments were preferred, not to how they are contrasted.",
    "constant_reward": "The same algorithm on the same data where every step scores the same "
    "number. A policy that only ties with it owes its result to the data, not to the reward.",
    "behaviour": "What was recorded: the episodes of the dataset themselves, before any learning.",
}


@dataclass(frozen=True)
class Measure:
    """The number that the page is about: success where the task can tell it, else the return."""

    name: str
    show: Callable[[float], str]
    of: Callable[[Row], Estimate | None]


SUCCESS = Measure("success", percent, lambda row: row.success)
RETURN = Measure("return", number, lambda row: row.returns)


def measure(rows: Sequence[Row]) -> Measure:
    """Return the measure that the policy has."""
    return SUCCESS if rows[0].success else RETURN


def headline(rows: Sequence[Row]) -> tuple[str, str]:
    """Return the number that matters and the sentence that puts it beside the best control.

    Args:
        rows: The policy, then the controls.
    """
    what = measure(rows)
    mine = what.of(rows[0])
    if mine is None:
        return ABSENT, "This run has no evaluation yet, so there is nothing to compare."
    inside = f" (95% interval {interval(mine, what.show)})" if mine.interval else ""
    start = f"{what.name.capitalize()} {what.show(mine.mean)}{inside}"
    others = [(value.mean, row) for row in rows[1:] if (value := what.of(row))]
    if not others:
        return what.show(mine.mean), f"{start}. No control was run to compare it with."
    best = max(others, key=lambda item: item[0])[1]
    sentence = f"{start}, against {_named(best, what)} for the best control ({_name(best)})."
    fair = [item for item in others if item[1].arm.key != "true_reward"]
    if best.arm.key == "true_reward" and fair:
        second = max(fair, key=lambda item: item[0])[1]
        sentence += (
            f" Without the task's own reward the best control is {_name(second)} with "
            f"{_named(second, what)}: {comparison(rows[0], second)}."
        )
    else:
        sentence += f" Here {comparison(rows[0], best)}."
    return what.show(mine.mean), sentence


def comparison(policy: Row, control: Row) -> str:
    """Return how the policy's interval lies to the control's, as a clause.

    Separate intervals are a stricter condition than a test at 5%, so "overlap" is not "equal".
    """
    what = SUCCESS if policy.success and control.success else RETURN
    mine, other = what.of(policy), what.of(control)
    if not mine or not other or not mine.interval or not other.interval:
        return "there are no two intervals to compare"
    if mine.interval[0] > other.interval[1]:
        return f"the policy's whole {what.name} interval lies above the control's"
    if mine.interval[1] < other.interval[0]:
        return f"the policy's whole {what.name} interval lies below the control's"
    return f"the two {what.name} intervals overlap, so this run does not tell them apart"


def _name(row: Row) -> str:
    label = row.arm.label
    return label[0].lower() + label[1:]


def _named(row: Row, what: Measure) -> str:
    value = what.of(row)
    return what.show(value.mean) if value else ABSENT
