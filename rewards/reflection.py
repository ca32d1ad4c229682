"""Several programs a round, after a look at how training went with the best one so far.

The idea is Eureka's (Ma et al. 2023, arXiv 2310.12931): sample programs, train with each, and let
the model read, per term of the best one, what it did during training. Differences: the best program
of all rounds is shown and not that of the last one; a program counts by its mean over training
seeds and not by its best; and programs are checked before they are trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from embodied.errors import at_least
from embodied.files import write_json
from embodied.rounds import Round
from embodied.runs import runs_root
from embodied.types import RewardContext
from rewards.conversation import Conversation, converse
from rewards.improve import AGAIN, MESSAGES, measured, origin_of, rewritable
from rewards.makers import gate_of
from rewards.prompt import build_messages, code_message
from rewards.providers.base import BudgetError
from rewards.text2reward import REPLIES

PROGRESS = ("updates", "environment steps")  # what the points of a learning curve are counted in
SAMPLES = "samples.json"  # written last: which samples were accepted, and why the others were not
READ_IT = """\
Read the numbers before you write:
- Where success stays near zero throughout, the reward leads somewhere else: write it anew.
- A term that hardly changes during training is not being learnt from: change its scale or its \
form, or drop it.
- A term far larger than the others hides them: bring them to one scale.
- A term that rises while success does not is being collected without doing the task."""


def sample(
    context: RewardContext,
    best: Round,
    curves: Mapping[str, Any],
    others: str,
    *,
    instruction: str,
    samples: int,
    first_sample: int,
    max_attempts: int,
) -> list[str]:
    """Ask for several programs at once and keep those that pass their checks.

    Args:
        context: Its folder gets ``<k>/reward/`` for every sample and ``samples.json``.
        best: The best program so far.
        curves: How training went with it: ``updates`` [P] or ``environment steps`` [P], ``success``
            [P] (or ``return``), ``episode length`` [P] where known, and ``terms`` {name: [P]}, each
            a mean over training seeds; empty where it was not trained.
        others: How the other programs of the last round did, in words.
        instruction: The task in the words of the first prompt.
        samples: Programs that are asked for.
        first_sample: Number of the first of them among all that the loop asks for, so that no
            answer is taken for another round's.
        max_attempts: Answers that each sample may take.

    Returns:
        The names of the folders with an accepted program, the same code only once.

    Raises:
        UserError: The provider gave no answer for another reason than a spent budget.
    """
    at_least(1, {"samples": samples})
    task, provider = rewritable(context)
    messages = [
        *build_messages(instruction, task),
        code_message(best.source),
        {"role": "user", "content": reflection(best, curves, others)},
    ]
    write_json(context.folder / MESSAGES, {"messages": messages})
    asked = [
        Conversation(context.folder / str(k) / "reward", list(messages), first_sample + k)
        for k in range(samples)
    ]
    converse(
        asked,
        provider,
        task,
        context.sample,
        origin_of(instruction, messages, provider.name),
        max_attempts=max_attempts,
        log=runs_root() / REPLIES,
        gate=gate_of(context),
    )
    for item in asked:
        if item.error is not None and not isinstance(item.error, BudgetError):
            raise item.error
    accepted, refused = _sorted_out(asked)
    write_json(context.folder / SAMPLES, {"accepted": accepted, "refused": refused})
    return accepted


def _sorted_out(asked: Sequence[Conversation]) -> tuple[list[str], dict[str, str]]:
    """Return the samples to train with, and why each of the others is not."""
    found: dict[str, str] = {}  # code to sample
    refused: dict[str, str] = {}
    for k, item in enumerate(asked):
        if item.reward is None:
            refused[str(k)] = str(item.error or item.failure)
        elif item.reward.program.source in found:
            refused[str(k)] = f"the same code as sample {found[item.reward.program.source]}"
        else:
            found[item.reward.program.source] = str(k)
    return list(found.values()), refused


def reflection(best: Round, curves: Mapping[str, Any], others: str) -> str:
    """Return what the model is told of the best program so far."""
    parts = ["This is the best reward so far.", measured(best)]
    if curves:
        unit = next(name for name in PROGRESS if name in curves)
        steps = ", ".join(str(item) for item in curves[unit])
        parts.append(
            "How training went with it, in the order of time, as means over training seeds "
            f"({unit} {steps}):\n{table(curves)}"
        )
    parts += [others, READ_IT if curves else "", AGAIN]
    return "\n\n".join(filter(None, parts))


def table(curves: Mapping[str, Any]) -> str:
    """Return a line per term and measure: its values in order, then max, mean and min."""
    rows = {f"term {name}": values for name, values in curves["terms"].items()}
    rows |= {name: curves[name] for name in curves if name not in (*PROGRESS, "terms")}
    return "\n".join(f"- {name}: {_series(values)}" for name, values in rows.items())


def _series(values: Sequence[float]) -> str:
    known = [value for value in values if value == value]
    if not known:
        return "not measured"
    listed = ", ".join("?" if value != value else f"{value:.3g}" for value in values)
    mean = sum(known) / len(known)
    return f"{listed} (max {max(known):.3g}, mean {mean:.3g}, min {min(known):.3g})"
