"""What our writers leave in a foreign dataset, so that it comes back as it was.

The description is JSON: ``info`` and ``columns`` have the form of ``dataset.json``. It is data like
any other in a file, and believed only as far as it can be checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from embodied.dataset import EXTRA, STATE, Episode
from embodied.dataset_json import DatasetInfo, entries_from_json, info_from_json
from embodied.errors import UserError
from embodied.formats.source import NUMBERS
from embodied.types import Array


@dataclass(frozen=True)
class Description:
    """A dataset as it was before it was written in a foreign format."""

    info: DatasetInfo
    columns: Mapping[str, Mapping[str, Any]]  # by stored name, as in ``dataset.json``

    @classmethod
    def from_json(cls, value: Any) -> Description:
        """Read a description.

        Raises:
            UserError: It is malformed.
        """
        if not isinstance(value, dict) or not {"info", "columns"} <= value.keys():
            raise UserError("the embodied description in this dataset is malformed; write it again")
        return cls(info_from_json(value["info"]), entries_from_json(value["columns"]))

    def info_read_from(self, counts: Mapping[str, Any]) -> DatasetInfo:
        """Return the dataset's own description with how it was read in its ``origin``."""
        return replace(self.info, origin={**self.info.origin, "read_from": dict(counts)})

    def restore(self, episode: Episode) -> Episode:
        """Return an episode with the columns of the description and their types, and no others.

        Raises:
            UserError: One of them is missing.
        """
        return Episode(
            observation=self._as_described("observation", {"observation": episode.observation}),
            action=self._as_described("action", {"action": episode.action}),
            terminated=episode.terminated,
            state=self._part(STATE, episode.state),
            columns=self._part(EXTRA, episode.columns),
        )

    def _part(self, prefix: str, values: Mapping[str, Array]) -> dict[str, Array]:
        stored = {f"{prefix}{name}": item for name, item in values.items()}
        return {
            name.removeprefix(prefix): self._as_described(name, stored)
            for name in self.columns
            if name.startswith(prefix)
        }

    def _as_described(self, name: str, stored: Mapping[str, Array]) -> Array:
        if name not in stored or name not in self.columns:
            raise UserError(f"this dataset lacks {name}, which its description has; write it again")
        entry = self.columns[name]
        try:
            dtype = np.dtype(entry["dtype"])
            if dtype.kind not in NUMBERS:
                raise ValueError
            values = np.asarray(stored[name], dtype)
            return values.reshape(len(values), *entry["shape"])
        except (TypeError, ValueError):
            raise UserError(
                f"{name} is not as the description of this dataset says; write it again"
            ) from None
