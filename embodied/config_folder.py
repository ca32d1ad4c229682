"""Where the YAML files are."""

from __future__ import annotations

from pathlib import Path


def config_folder() -> Path:
    """Return the folder with the YAML files: inside the package in a wheel, else beside it."""
    here = Path(__file__).resolve().parent
    inside = here / "configs"
    return inside if inside.is_dir() else here.parent / "configs"
