"""The command line: ``embodied <command> [arguments] [overrides]``.

Overrides (``key=value``) are Hydra's; everything else is an ordinary argument, so a sentence is
quoted like any other. Exit codes: 0; 2 with one line for a user's mistake; 130 after Ctrl-C; 1 with
a traceback for a bug.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from embodied import __version__
from embodied.arguments import Parser, split_overrides
from embodied.errors import UserError
from embodied.files import FULL
from embodied.registry import check_siblings


@dataclass(frozen=True)
class Command:
    """One subcommand.

    Attributes:
        help: One line for ``embodied --help``.
        arguments: Names of its positional arguments; a trailing ``?`` or ``+`` as in argparse.
        call: Does the work, given the parsed arguments and the overrides.
        config: Name of its YAML file, whose keys ``--help`` shows; None when it takes none.
    """

    help: str
    arguments: tuple[str, ...]
    call: Callable[[argparse.Namespace, list[str]], object]
    config: str | None = None


def _reward(options: argparse.Namespace, overrides: list[str]) -> object:
    from embodied.config import load
    from embodied.stages import reward

    values = load("reward", overrides)
    if options.text is not None:
        values["instruction"] = options.text
    return reward.run({**values, "check": values["check"] or options.check})


def _collect(options: argparse.Namespace, overrides: list[str]) -> object:
    from embodied.config import load
    from embodied.stages import collect

    return collect.run(load("collect", overrides))


def _label(options: argparse.Namespace, overrides: list[str]) -> object:
    from embodied.config import load
    from embodied.stages import label

    return label.run(options.data, load("label", overrides))


def _resumed(overrides: list[str]) -> str | None:
    """Return RUN of ``resume=RUN``, which stands alone."""
    resume = [item.removeprefix("resume=") for item in overrides if item.startswith("resume=")]
    if resume and len(overrides) > 1:
        raise UserError("resume=RUN goes on with that run's own config; give no other override")
    return resume[0] if resume else None


def _train(options: argparse.Namespace, overrides: list[str]) -> object:
    from embodied.config import load, sweep
    from embodied.stages import train

    resume = _resumed(overrides)
    if resume:
        return train.resume_run(resume)
    for choice in sweep(overrides) if options.multirun else [overrides]:
        train.run(load("train", choice))
    return None


def _evaluate(options: argparse.Namespace, overrides: list[str]) -> object:
    from embodied.config import load, sweep
    from embodied.stages import evaluate

    for choice in sweep(overrides) if options.multirun else [overrides]:
        evaluate.run(options.run, load("evaluate", choice))
    return None


def _compare(options: argparse.Namespace, overrides: list[str]) -> object:
    from embodied.config import load
    from embodied.stages import compare

    return compare.run(options.runs, load("compare", overrides))


def _deploy(options: argparse.Namespace, overrides: list[str]) -> object:
    from embodied.config import load
    from embodied.stages import deploy

    return deploy.run(options.run, load("deploy", overrides))


def _demo(options: argparse.Namespace, overrides: list[str]) -> object:
    from embodied.config import load
    from embodied.stages import demo

    resume = _resumed(overrides)
    return demo.resume(resume) if resume else demo.run(load("demo", overrides))


def _improve(options: argparse.Namespace, overrides: list[str]) -> object:
    from embodied.config import load
    from embodied.stages import improve

    resume = _resumed(overrides)
    if resume:
        return improve.resume_run(resume)
    return improve.run(options.run, options.text, load("improve", overrides))


def _doctor(options: argparse.Namespace, overrides: list[str]) -> object:
    from embodied import doctor

    return doctor.run(as_json=options.json)


def _data(options: argparse.Namespace, overrides: list[str]) -> object:
    from embodied.config import load
    from embodied.stages import data

    data.run(options.action, options.paths, load("data", overrides))
    return None


def _prefer(options: argparse.Namespace, overrides: list[str]) -> object:
    from embodied.config import load
    from embodied.stages import prefer

    prefer.run(options.data, load("prefer", overrides))
    return None


COMMANDS = {
    "doctor": Command("check this machine and say how to mend what is missing", (), _doctor),
    "demo": Command("the whole path on embedded defaults, on the CPU", (), _demo, "demo"),
    "reward": Command("make a reward from a sentence", ("text?",), _reward, "reward"),
    "collect": Command("roll behaviours out into a dataset", (), _collect, "collect"),
    "label": Command("label a dataset with a reward", ("data",), _label, "label"),
    "train": Command("train a policy and its controls", (), _train, "train"),
    "evaluate": Command("roll a run's policies out again", ("run",), _evaluate, "evaluate"),
    "compare": Command("set runs, or RUN:ARM, side by side", ("runs+",), _compare, "compare"),
    "deploy": Command("run a policy on a robot, guarded", ("run",), _deploy, "deploy"),
    "improve": Command(
        "rewrite a run's reward after your words, or after its training curves",
        ("run?", "text?"),
        _improve,
        "improve",
    ),
    "prefer": Command("compare clips of a dataset on a web page", ("data",), _prefer, "prefer"),
    "data": Command(
        "show or make datasets: info, filter, split, merge, convert, corrupt",
        ("action", "paths+"),
        _data,
        "data",
    ),
}
META = {
    "text": "TEXT",
    "data": "DATA",
    "run": "RUN",
    "runs": "RUN",
    "action": "ACTION",
    "paths": "PATH",
}


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    top = Parser(prog="embodied", description="From a sentence to a guarded robot policy.")
    top.add_argument("--version", action="version", version=f"embodied-stack {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=command.help,
            description=command.help,
            epilog=_keys(command.config),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        for argument in command.arguments:
            plain = argument.rstrip("?+")
            number = argument[len(plain) :] or None
            sub.add_argument(plain, nargs=number, metavar=META[plain])
        if name == "doctor":
            sub.add_argument("--json", action="store_true", help="print JSON")
        if name == "reward":
            sub.add_argument("--check", action="store_true", help="print the diagnostics")
        if name in ("train", "evaluate"):
            sub.add_argument(
                "-m", "--multirun", action="store_true", help="sweep comma-separated values"
            )
    return top


def _keys(config: str | None) -> str | None:
    """Return the text of a command's YAML file: its keys are its options."""
    if config is None:
        return None
    # Read as text: help needs neither Hydra nor torch.
    from embodied.config_folder import config_folder

    folder = config_folder()
    text = (folder / f"{config}.yaml").read_text(encoding="utf-8")
    groups = [
        f"  {group.name}: {', '.join(sorted(item.stem for item in group.glob('*.yaml')))}"
        for group in sorted(folder.iterdir())
        if group.is_dir() and f"- {group.name}:" in text
    ]
    indented = "".join(f"  {line}\n" for line in text.splitlines())
    return f"overrides (key=value), with their defaults:\n{indented}choices:\n" + "\n".join(groups)


def check_gl() -> None:
    """Check ``MUJOCO_GL``, since MuJoCo cannot even be imported with a value that it does not know.

    Raises:
        UserError: It is none of MuJoCo's values for this platform.
    """
    backends = {"Linux": ("glx", "egl", "osmesa"), "Windows": ("wgl",), "Darwin": ("cgl",)}
    known = ("glfw", *backends.get(platform.system(), ()))
    switches = ("enable", "enabled", "on", "true", "1", "disable", "disabled", "off", "false", "0")
    value = os.environ.get("MUJOCO_GL", "")
    if value.lower().strip() not in ("", *known, *switches):
        raise UserError(
            f"MUJOCO_GL is {value!r}; unset it, or set it to one of "
            f"{', '.join((*known, *switches))}"
        )


def _file_mistake(error: OSError) -> str | None:
    """Return the line for an error of the file system that the user can mend, or None."""
    path = error.filename if error.filename is not None else "a file"
    if error.errno in FULL:
        return "disk full; free some space"
    if isinstance(error, PermissionError):
        return f"no permission for {path}; change its owner or mode, or name another place"
    if isinstance(error, NotADirectoryError):
        return f"{path} leads through something that is not a folder; check the path"
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    plain, overrides = split_overrides(given)
    options = parser().parse_args(plain)
    # Read when torch is first imported. libgomp's threads spin long before they sleep; on a machine
    # that is busy with something else, two of them then wait for each other most of the time.
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    command = COMMANDS[options.command]
    try:
        check_siblings()
        check_gl()
        if overrides and command.config is None:
            raise UserError(f"{options.command} takes no overrides, but got {overrides[0]}")
        command.call(options, overrides)
        sys.stdout.flush()
    except UserError as error:
        print(f"embodied {options.command}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever read the output has seen enough, as `| head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if (mistake := _file_mistake(error)) is None:
            raise
        print(f"embodied {options.command}: {mistake}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def console(arguments: Sequence[str] | None = None) -> Any:
    """Entry point of the ``embodied`` script."""
    sys.exit(main(arguments))


if __name__ == "__main__":
    console()
