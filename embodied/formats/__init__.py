"""Datasets of other projects: read through ``open_dataset``, written through ``writers``."""

from embodied.formats.opening import open_dataset, open_datasets

__all__ = ["open_dataset", "open_datasets"]
