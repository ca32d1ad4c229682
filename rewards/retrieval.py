"""Few-shot examples: the accepted rewards whose tasks read most like the one asked for.

The library is the expert rewards (one file per task, its stem the task's name, the first sentence
of its docstring the instruction) and every reward that an earlier run accepted. Similarity is the
cosine between TF-IDF vectors of the instruction and of the field names (Salton and Buckley 1988,
weights ``tf * idf`` with a smoothed ``idf = 1 + ln((1 + D) / (1 + df))``), so it needs no model and
gives the same order everywhere.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from embodied.errors import UserError
from embodied.files import read_json, sha256_bytes
from embodied.types import Task
from rewards.file import EXPERTS, SUFFIX
from rewards.provenance import PROVENANCE, SOURCE, read_source

FIELD = re.compile(r"\b(?:next_)?state\.(\w+)")
WRITTEN = ("text2reward", "file")  # the kinds of provenance that stand for code


@dataclass(frozen=True)
class Example:
    """An accepted reward of some task."""

    task: str
    instruction: str
    source: str

    @property
    def words(self) -> list[str]:
        """The words that it is found by: of its instruction, and of the fields that it reads."""
        return words(self.instruction, sorted(set(FIELD.findall(self.source))))


def nearest(
    instruction: str, task: Task, count: int, library: Sequence[Example]
) -> tuple[Example, ...]:
    """Return the ``count`` most similar examples, the most similar one first.

    None is of the task itself, by name or by having the same code as one of the task's own; no code
    comes twice. Equal similarities are ordered by task and code.

    Raises:
        UserError: ``count`` is negative, or the library holds nothing for other tasks.
    """
    if count < 0:
        raise UserError(f"reward.examples is {count}; it must be 0 or more")
    own = {_bare(item.source) for item in library if item.task == task.name}
    others = {
        _bare(item.source): item
        for item in sorted(library, key=lambda item: (item.task, item.source), reverse=True)
        if item.task != task.name and _bare(item.source) not in own
    }
    if count and not others:
        raise UserError(
            "there is no accepted reward of another task to show as an example; leave out "
            "reward.examples"
        )
    examples = list(others.values())
    asked = words(instruction, task.fields)
    vectors = tf_idf([asked, *(item.words for item in examples)])
    similar = [cosine(vectors[0], vector) for vector in vectors[1:]]
    order = sorted(
        range(len(examples)),
        key=lambda i: (-round(similar[i], 9), examples[i].task, examples[i].source),
    )
    return tuple(examples[i] for i in order[:count])


def library(runs: Path, experts: Path = EXPERTS) -> list[Example]:
    """Return the experts' rewards and those that the runs in a folder accepted, in a fixed order.

    A run whose reward is damaged, or was changed after it was accepted, is left out.
    """
    found = [
        Example(path.stem, _opening(source) or path.stem.replace("_", " "), source)
        for path in sorted(experts.glob(f"*{SUFFIX}"))
        for source in [read_source(path)]
    ]
    accepted = [*runs.glob(f"*/reward/{PROVENANCE}"), *runs.glob(f"*/rounds/*/reward/{PROVENANCE}")]
    for path in sorted(accepted):
        try:
            told = read_json(path, ("kind", "task", "source_sha256"))
            source = read_source(path.parent / SOURCE)
        except UserError:
            continue
        if told["kind"] in WRITTEN and sha256_bytes(source.encode()) == told["source_sha256"]:
            said = told.get("instruction") or str(told["task"]).replace("_", " ")
            found.append(Example(str(told["task"]), str(said), source))
    return found


def words(instruction: str, fields: Iterable[str]) -> list[str]:
    """Return lower-case words of a sentence and of field names, ``cube_position`` as two."""
    return re.findall(r"[a-z]+", " ".join([instruction, *fields]).lower())


def tf_idf(documents: Sequence[Sequence[str]]) -> list[dict[str, float]]:
    """Return by document its words' weights, scaled to length 1 (empty for no words)."""
    spread = Counter(word for document in documents for word in set(document))
    idf = {word: 1 + math.log((1 + len(documents)) / (1 + n)) for word, n in spread.items()}
    vectors = []
    for document in documents:
        weights = {word: n * idf[word] for word, n in sorted(Counter(document).items())}
        length = math.sqrt(math.fsum(value**2 for value in weights.values()))
        vectors.append({word: value / length for word, value in weights.items()})
    return vectors


def cosine(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Return the cosine of two vectors of length 1."""
    return math.fsum(value * other[word] for word, value in one.items() if word in other)


def _bare(source: str) -> str:
    """Return code without what does not change it: comments, blank lines and spaces."""
    lines = (line.partition("#")[0].strip() for line in source.splitlines())
    return "\n".join("".join(line.split()) for line in lines if line)


def _opening(source: str) -> str:
    """Return the first sentence of the docstring, or ``""``."""
    found = re.search(r'"""(.*?)(?:\.\s|"""|\n\n)', source, re.DOTALL)
    return " ".join(found[1].split()) if found else ""
