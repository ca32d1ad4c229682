"""``embodied doctor``: what works on this machine, and how to mend what does not."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from embodied.engine.precision import describe_products, faster_mode
from embodied.errors import UserError
from embodied.registry import check_siblings


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    status: str  # "ok", "missing" (a feature is lost) or "broken" (the demo cannot run)
    detail: str
    mend: str = ""  # what to do, when it is not ok


def check_python() -> Finding:
    """Look at the interpreter's version."""
    good = (3, 11) <= sys.version_info[:2] < (3, 14)
    status = "ok" if good else "broken"
    return Finding("Python", status, platform.python_version(), "" if good else "use 3.11 to 3.13")


def check_folders() -> Finding:
    """Look for packages that shadow ours."""
    try:
        check_siblings()
    except UserError as error:
        return Finding("packages", "broken", str(error), "remove the shadowing package")
    return Finding("packages", "ok", "embodied, rewards, policies, sim, real_robot")


def check_torch() -> Finding:
    """Look at torch and its threads."""
    if importlib.util.find_spec("torch") is None:
        return Finding("torch", "broken", "not installed", "pip install torch")
    import torch

    mode = faster_mode()
    products = f"matmul_precision={mode}: {describe_products(mode)} products"
    threads = torch.get_num_threads()
    return Finding("torch", "ok", f"{torch.__version__}, {threads} threads, {products}")


def check_gpu() -> Finding:
    """Look for a GPU."""
    if importlib.util.find_spec("torch") is None:
        return Finding("GPU", "missing", "torch is not installed", "pip install torch")
    import torch

    if torch.cuda.is_available():
        return Finding("GPU", "ok", torch.cuda.get_device_name())
    return Finding("GPU", "missing", "none seen by torch; everything here runs on the CPU")


def check_rendering() -> Finding:
    """Try to open a headless GL context."""
    from embodied.render import available

    backend = available()
    if backend is not None:
        return Finding("rendering", "ok", f"MUJOCO_GL={backend}")
    return Finding(
        "rendering", "missing", "no videos", "Debian: apt install libegl1 libgl1 libosmesa6"
    )


def check_extras() -> Finding:
    """Look for the packages of the extras."""
    extras = {"av": "report", "matplotlib": "report", "stable_baselines3": "sb3"}
    extras |= {"tensorboard": "tensorboard", "transformers": "transformers"}
    absent = sorted({extra for name, extra in extras.items() if not importlib.util.find_spec(name)})
    if not absent:
        return Finding("extras", "ok", ", ".join(sorted(set(extras.values()))))
    return Finding(
        "extras",
        "missing",
        ", ".join(absent),
        f"pip install 'embodied-stack[{','.join(absent)}]'",
    )


def check_providers() -> Finding:
    """Look at which language models can be asked."""
    from embodied.registry import resolve

    recorded = resolve("provider", "recorded")()
    known = [
        f"{task}: {text}" for task in ("push", "reach") for text in recorded.instructions(task)
    ]
    return Finding(
        "language model",
        "ok",
        f"recorded replies for {'; '.join(known)}",
        "any other sentence: provider=openai provider.base_url=URL provider.model=NAME (any "
        "OpenAI-compatible server), provider=anthropic provider.model=NAME (key: "
        f"$ANTHROPIC_API_KEY, {'set' if os.environ.get('ANTHROPIC_API_KEY') else 'not set'}), or "
        "provider=transformers provider.path=FOLDER (a model on this machine)",
    )


def check_ports() -> Finding:
    """Look for serial ports that a robot may hang on."""
    ports = sorted(str(item) for item in Path("/dev").glob("tty[AU][CS][MB]*"))
    if not ports:
        return Finding("robot ports", "missing", "no serial port; the simulated arm works")
    closed = [port for port in ports if not os.access(port, os.R_OK | os.W_OK)]
    if closed:
        mend = "add yourself to the group dialout and log in again"
        return Finding("robot ports", "missing", f"no access to {', '.join(closed)}", mend)
    return Finding("robot ports", "ok", ", ".join(ports))


CHECKS: tuple[Callable[[], Finding], ...] = (
    check_python,
    check_folders,
    check_torch,
    check_gpu,
    check_rendering,
    check_extras,
    check_providers,
    check_ports,
)


def run(*, as_json: bool = False) -> list[Finding]:
    """Print every finding.

    Raises:
        UserError: Something is broken, so that the demo cannot run.
    """
    findings = [check() for check in CHECKS]
    if as_json:
        print(json.dumps([asdict(item) for item in findings], indent=2))
    else:
        for item in findings:
            mend = f"\n{'':17}-> {item.mend}" if item.mend else ""
            print(f"{item.status:8} {item.name:15} {item.detail}{mend}")
    broken = [item for item in findings if item.status == "broken"]
    if broken:
        raise UserError(f"{broken[0].name}: {broken[0].detail}; {broken[0].mend}")
    return findings
