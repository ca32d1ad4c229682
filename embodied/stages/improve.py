"""``embodied improve``: rewrite a run's reward, after a person's word or after its training curves.

Everything is a function of the files in the run folder. A round that was cut short is done again
from what it left: stored replies are not asked for again, trainings go on from their checkpoints,
and what is finished stays.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from difflib import unified_diff
from pathlib import Path
from typing import Any

from embodied import rounds
from embodied.config import build
from embodied.errors import UserError, at_least
from embodied.files import read_json, write_json
from embodied.registry import resolve
from embodied.results import table
from embodied.runs import RunFolder
from embodied.stages.evaluate import refresh_report
from embodied.stages.loop import ImproveConfig, Loop, begin, training_of
from embodied.stages.reflect import reflect
from embodied.stages.retrain import retrain


def improve(path: str | Path, said: str, config: ImproveConfig) -> RunFolder:
    """Begin the next round of a run, or several, and finish them.

    Args:
        path: A run that holds a reward and usually a training with its evaluation.
        said: What a person found wrong and wants; ``""`` for reflection on training curves.
        config: The settings.

    Raises:
        UserError: A run without a reward, nothing asked for, or no acceptable program.
    """
    root = RunFolder.open(rounds.root_of(Path(path)))
    check(root, said, config)
    waiting = rounds.begun(root.path)
    if waiting and not finished(root, waiting[-1]):
        raise UserError(
            f"round {waiting[-1].name} of {root.path} is not finished; remove {waiting[-1]} to "
            f"give it up, or go on with: embodied improve resume={root.path}"
        )
    first = int(waiting[-1].name) + 1 if waiting else 1
    return go_on(begin(root, said, config, first))


def check(root: RunFolder, said: str, config: ImproveConfig) -> None:
    """Refuse what cannot work, before anything is written."""
    if not (root.path / "reward" / "reward.py").is_file():
        raise UserError(
            f"{root.path} holds no reward code to improve; make one with `embodied reward`, or "
            "name a run that was trained with one"
        )
    if bool(said) == (config.rounds is not None):
        raise UserError(
            "say in a sentence what was wrong and what you want, or give rounds=N for reflection "
            "on training curves: one of them"
        )
    at_least(1, {key: getattr(config, key) for key in ("rounds", "samples", "max_attempts")})


def resume(path: str | Path) -> RunFolder:
    """Finish the rounds that a run began.

    Raises:
        UserError: It began none.
    """
    root = RunFolder.open(rounds.root_of(Path(path)))
    waiting = rounds.begun(root.path)
    if not waiting:
        raise UserError(f"{root.path} began no round; `embodied improve --help` shows how")
    asked = read_json(waiting[-1] / rounds.REQUEST, ("said", "first", "config"))
    config = build(ImproveConfig, asked["config"])
    return go_on(begin(root, str(asked["said"]), config, int(asked["first"])))


def go_on(loop: Loop) -> RunFolder:
    """Do every round of a loop that is not finished.

    Raises:
        KeyboardInterrupt: After Ctrl-C, once it is said how to go on.
    """
    try:
        for number in range(loop.first, loop.last + 1):
            request(loop, number)
            if loop.said:
                revise(loop, number)
            else:
                reflect(loop, number)
        if loop.training is not None:
            retrain(RunFolder(loop.folder(loop.last)), loop.training)
    except KeyboardInterrupt:
        print(f"go on with: embodied improve resume={loop.root.path}")
        raise
    finally:
        loop.spending.keep()
    # The newest round's own report was written with it.
    for folder in (loop.root.path, *rounds.begun(loop.root.path)[:-1]):
        refresh_report(RunFolder(folder))
    return loop.root


def request(loop: Loop, number: int) -> None:
    """Write down what a round is asked for: with this it has begun."""
    path = loop.folder(number) / rounds.REQUEST
    if not path.is_file():
        kind = "feedback" if loop.said else "reflection"
        asked = {"schema_version": 1, "kind": kind, "said": loop.said, "first": loop.first}
        write_json(path, {**asked, "config": asdict(loop.config)})


def finished(root: RunFolder, folder: Path) -> bool:
    """Return whether a round, and the loop that it belongs to, needs nothing more."""
    asked = read_json(folder / rounds.REQUEST, ("said", "first", "config"))
    config = build(ImproveConfig, asked["config"])
    training = training_of(*root.config(), config)
    last = int(asked["first"]) + (config.rounds or 1) - 1
    done = "reward/provenance.json" if training is None else "result.json"
    return int(folder.name) == last and (folder / done).is_file()


def revise(loop: Loop, number: int) -> None:
    """Have the next program written after what a person said."""
    folder = loop.folder(number) / "reward"
    if (folder / "provenance.json").is_file():
        return
    print(f"round {number}: asking for the next program", flush=True)
    resolve("improvement", "revise")(
        loop.context(folder),
        loop.earlier(number),
        loop.said,
        instruction=loop.instruction,
        max_attempts=loop.config.max_attempts,
        measurements=loop.config.measurements,
    )
    loop.spending.show()


def run(path: str | None, said: str | None, values: dict[str, Any]) -> RunFolder:
    """Entry of the command line."""
    if path is None:
        raise UserError("name the RUN whose reward is to be improved, or give resume=RUN")
    config = build(ImproveConfig, values)
    paths = tuple(str(Path(item).resolve()) for item in config.data.paths)
    return show(improve(path, said or "", replace(config, data=replace(config.data, paths=paths))))


def resume_run(path: str) -> RunFolder:
    """Entry of the command line for ``resume=RUN``."""
    return show(resume(path))


def show(root: RunFolder) -> RunFolder:
    """Print what changed in the newest program, how it did, and where everything is."""
    found = rounds.read_rounds(root.path)
    before, newest = found[-2:]
    lines = (before.source.splitlines(), newest.source.splitlines())
    names = (f"round {before.number}", f"round {newest.number}")
    print("\n".join(unified_diff(*lines, *names, lineterm="", n=1)))
    folder = rounds.begun(root.path)[-1]
    if (folder / "result.json").is_file():
        print(table(read_json(folder / "result.json")))
        print(f"{folder}: report.html, result.json, policy/")
    else:
        print(
            f"reward kept in {folder / 'reward'}; use it with: embodied label DATA reward=saved "
            f"path={folder}"
        )
    return root
