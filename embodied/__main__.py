"""``python -m embodied``."""

from embodied.cli import console

console()
