"""Run folders: what a stage leaves behind, and how a killed one is found again."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from embodied.errors import UserError
from embodied.files import read_json, write_json, write_text

RUN_VERSION = 1
PACKAGES = ("torch", "numpy", "mujoco", "gymnasium", "hydra-core", "pyarrow")


def runs_root() -> Path:
    """Return the folder of all runs: $EMBODIED_RUNS, or ``runs``."""
    return Path(os.environ.get("EMBODIED_RUNS", "runs"))


@dataclass(frozen=True)
class RunFolder:
    """A run: ``config.yaml``, ``manifest.json``, ``metrics.jsonl``, ``result.json`` and more."""

    path: Path

    @classmethod
    def create(cls, name: str) -> RunFolder:
        """Make ``runs/<date-time>-<name>/`` (in the folder $EMBODIED_RUNS where that is set)."""
        root = runs_root()
        stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{re.sub(r'[^A-Za-z0-9_-]+', '-', name)}"
        for attempt in range(100):
            path = root / (stem if attempt == 0 else f"{stem}-{attempt}")
            try:
                path.mkdir(parents=True)
                break
            except FileExistsError:
                continue
            except OSError as error:
                raise UserError(
                    f"cannot make a run folder under {root} ({error.strerror}); set EMBODIED_RUNS "
                    "to a folder that you may write to"
                ) from None
        else:
            raise UserError(f"cannot make a fresh run folder under {root}; remove old ones")
        return cls(path)

    def describe(self, config: Mapping[str, Any], manifest: Mapping[str, Any]) -> None:
        """Write ``config.yaml`` (the resolved config) and ``manifest.json``."""
        write_text(self.path / "config.yaml", yaml.safe_dump(plain(config), sort_keys=False))
        self.write_manifest(manifest)

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Open an existing run.

        Raises:
            UserError: It is no run folder, or one of another version.
        """
        path = Path(path)
        if not path.is_dir():
            raise UserError(f"{path} is not a run folder; `ls runs` shows what there is")
        manifest = read_json(path / "manifest.json", ("run_version",))
        if manifest["run_version"] != RUN_VERSION:
            raise UserError(
                f"{path} was made by run version {manifest['run_version']}, this program reads "
                f"version {RUN_VERSION}; use the program that made it or run it again"
            )
        return cls(path)

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest as stored."""
        return read_json(self.path / "manifest.json", ("run_version",))

    def config(self) -> tuple[str, dict[str, Any]]:
        """Return the command that made the run and the config that it ran with.

        Raises:
            UserError: ``config.yaml`` is missing or damaged.
        """
        try:
            values = yaml.safe_load((self.path / "config.yaml").read_text(encoding="utf-8"))
            return str(values.pop("command")), dict(values)
        except (OSError, yaml.YAMLError, KeyError, AttributeError, TypeError, ValueError):
            raise UserError(
                f"{self.path}/config.yaml is missing or damaged; run its command again"
            ) from None

    def write_manifest(self, extra: Mapping[str, Any]) -> None:
        """Write ``manifest.json``: versions, commit, machine, and what the stage adds."""
        versions = {}
        for package in PACKAGES:
            try:
                versions[package] = metadata.version(package)
            except metadata.PackageNotFoundError:
                versions[package] = "absent"
        write_json(
            self.path / "manifest.json",
            {
                "run_version": RUN_VERSION,
                "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                "python": platform.python_version(),
                "platform": platform.platform(),
                "processor": processor_name(),
                "cores": os.cpu_count(),
                "versions": versions,
                "git_commit": git_commit(),
                **extra,
            },
        )

    def next_folder(self, kind: str) -> Path:
        """Return the next free ``<kind>/<n>`` (not made yet)."""
        parent = self.path / kind
        taken = numbered(parent)
        return parent / str(int(taken[-1].name) + 1 if taken else 0)


def numbered(parent: Path) -> list[Path]:
    """Return what in a folder has a number for its name, in the order of the numbers."""
    return sorted(
        (item for item in parent.glob("*") if re.fullmatch("[0-9]+", item.name)),
        key=lambda item: int(item.name),
    )


class MetricsLog:
    """``metrics.jsonl``: one JSON object a line, appended; and TensorBoard files on request."""

    def __init__(self, run: RunFolder, *, keep_until_step: int = 0, tensorboard: bool = False):
        self.path = run.path / "metrics.jsonl"
        lines = [line for line in read_metrics(run) if line.get("step", 0) <= keep_until_step]
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in lines))
        self._writer: Any = None
        if tensorboard:
            self._writer = _tensorboard_writer(run.path / "tensorboard")

    def write(self, line: Mapping[str, Any]) -> None:
        """Append one line; numbers and lists of numbers (one per seed) go to TensorBoard too."""
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        if self._writer is not None:
            for key, value in line.items():
                values = value if isinstance(value, list) else [value]
                for seed, number in enumerate(values):
                    if isinstance(number, int | float):
                        self._writer.add_scalar(f"{key}/{seed}", number, int(line["step"]))
            self._writer.flush()


def plain(value: Any) -> Any:
    """Return a config value as YAML's own types: tuples become lists."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def read_metrics(run: RunFolder) -> list[dict[str, Any]]:
    """Return the complete lines of ``metrics.jsonl``; one that a kill cut short is left out."""
    path, lines = run.path / "metrics.jsonl", []
    if path.is_file():
        for text in path.read_text(encoding="utf-8").splitlines():
            try:
                line = json.loads(text)
            except json.JSONDecodeError:
                break
            if not isinstance(line, dict):
                break
            lines.append(line)
    return lines


def _tensorboard_writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError(
            "tensorboard=true needs an extra: pip install 'embodied-stack[tensorboard]'"
        ) from None
    return SummaryWriter(str(folder))


def git_commit() -> str:
    """Return the commit of the source tree, with ``+changes`` when it is not clean, or ''."""
    root = Path(__file__).resolve().parent.parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def processor_name() -> str:
    """Return the processor's name as the operating system tells it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1) if found else platform.processor()
