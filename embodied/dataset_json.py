"""``dataset.json``: what a dataset says of itself, checked when it is read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from embodied.errors import UserError
from embodied.types import Field

SCHEMA_VERSION = 1
COLUMN_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")  # also the name of its file
MAX_LENGTH = 2**40  # transitions of an episode; a larger number is damage


@dataclass(frozen=True)
class DatasetInfo:
    """What a dataset says of itself.

    Attributes:
        environment: Short name (or Gymnasium id) of where it was collected; tasks are found by it.
        action: Unit, meaning and bounds of the action.
        fields: The named state fields, with units and frames.
        control_hz: Control rate in Hz, 0 when unknown.
        origin: How it came about: behaviour, seeds, versions (JSON values).
    """

    environment: str
    action: Field
    fields: Mapping[str, Field] = field(default_factory=dict)
    control_hz: float = 0.0
    origin: Mapping[str, Any] = field(default_factory=dict)


def info_from_json(value: Mapping[str, Any]) -> DatasetInfo:
    """Read a DatasetInfo back from the JSON that ``info_to_json`` gave."""
    try:
        json.dumps(value, allow_nan=False)  # as it could not be written again
        return DatasetInfo(
            environment=str(value["environment"]),
            action=_field_from_json(value["action"]),
            fields={name: _field_from_json(item) for name, item in value["fields"].items()},
            control_hz=float(value["control_hz"]),
            origin=dict(value["origin"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise UserError(f"dataset.json is malformed ({error}); collect the dataset again") from None


def info_to_json(info: DatasetInfo) -> dict[str, Any]:
    """Return the JSON form of a DatasetInfo."""
    return asdict(info)


def lengths_from_json(value: Any) -> npt.NDArray[np.int64]:
    """Read the lengths of the episodes: whole numbers above zero, at least one of them."""
    if (
        not isinstance(value, list)
        or not value
        or not all(type(length) is int and 0 < length < MAX_LENGTH for length in value)
    ):
        raise UserError(
            "dataset.json is malformed (episode_lengths must be whole numbers above 0); "
            "collect the dataset again"
        )
    return np.array(value, np.int64)


def entries_from_json(value: Any) -> dict[str, dict[str, Any]]:
    """Read the table of columns: by name ``per`` (row or transition), ``shape`` and ``dtype``.

    A column of frames that stay in video files has ``video`` besides (see ``VideoColumn``).
    """
    entries: dict[str, Any] = value if isinstance(value, dict) else {"": None}
    for name, entry in entries.items():
        if (
            not COLUMN_NAME.fullmatch(name)
            or not isinstance(entry, dict)
            or entry.get("per") not in ("row", "transition")
            or not isinstance(entry.get("shape"), list)
            or not isinstance(entry.get("dtype"), str)
        ):
            raise UserError(
                f"dataset.json is malformed (column {name!r}); collect the dataset again"
            )
    return entries


def _field_from_json(value: Mapping[str, Any]) -> Field:
    def bounds(key: str) -> tuple[float, ...] | None:
        return None if value[key] is None else tuple(float(item) for item in value[key])

    return Field(
        shape=tuple(int(size) for size in value["shape"]),
        unit=str(value["unit"]),
        meaning=str(value["meaning"]),
        frame=str(value["frame"]),
        low=bounds("low"),
        high=bounds("high"),
    )
