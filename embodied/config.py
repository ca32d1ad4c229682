"""Configs: composed by Hydra, then turned at once into plain frozen dataclasses.

Only the command line imports this module (and Hydra). A key that no config file holds is an error;
so is a value of the wrong type.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from embodied.config_folder import config_folder
from embodied.errors import UserError

T = TypeVar("T")


def load(command: str, overrides: Sequence[str], **given: Any) -> dict[str, Any]:
    """Compose ``<command>.yaml`` with overrides and return it resolved, as plain values.

    ``given`` sets values by their dotted key without passing through the override grammar.

    Raises:
        UserError: An unknown key or option, a wrong value, or a value that is still missing.
    """
    try:
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            config = compose(command, overrides=[_group_default(item) for item in overrides])
        for key, item in given.items():
            OmegaConf.update(config, key, item)
        value = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(f"{command}: {_first_sentence(error)}") from None
    assert isinstance(value, dict)
    return typing.cast(dict[str, Any], value)


def _group_default(override: str) -> str:
    """Let ``data=FOLDER`` mean ``data.paths=[FOLDER]``, since folders are not config files."""
    key, _, value = override.partition("=")
    if key != "data" or (config_folder() / "data" / f"{value}.yaml").is_file():
        return override
    if value.startswith("["):
        return f"data.paths={value}"
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"data.paths=['{escaped}']"


def _first_sentence(error: Exception) -> str:
    text = " ".join(str(error).split())
    if found := re.search(r"Could not override '([^']+)'", text):
        return f"unknown config key {found[1]!r}; `embodied <command> --help` lists the keys"
    if found := re.search(
        r"Could not find '([^'/]+)/([^']+)' Available options in .*?: (.*?) Con", text
    ):
        return f"unknown {found[1]} {found[2]!r}; available: {found[3]}"
    if found := re.search(r"Missing mandatory value.*full_key: (\S+)", text):
        return f"{found[1]} needs a value; give it as {found[1]}=VALUE"
    return re.split(r"To append|See https|full_key:", text)[0].strip() or type(error).__name__


def sweep(overrides: Sequence[str]) -> list[list[str]]:
    """Return every combination of comma-separated values, as plain overrides (``-m``)."""
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        choices = [
            [f"{item.get_key_element()}={value}" for value in item.sweep_string_iterator()]
            if item.is_sweep_override()
            else [item.input_line or ""]
            for item in parsed
        ]
    except HydraException as error:
        raise UserError(f"cannot read the sweep: {_first_sentence(error)}") from None
    return [list(items) for items in itertools.product(*choices)]


def build(cls: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """Make a dataclass from plain values, checking keys and types.

    Raises:
        UserError: An unknown or missing key, or a value of another type than declared.
    """
    hints = typing.get_type_hints(cls)
    known = {item.name: item for item in dataclasses.fields(typing.cast(Any, cls))}
    place = f"{where}." if where else ""
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise UserError(f"unknown config key {place}{unknown[0]}; known: {', '.join(known)}")
    missing = [
        name
        for name, item in known.items()
        if name not in values
        and item.default is dataclasses.MISSING
        and item.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise UserError(f"config key {place}{missing[0]} is missing; give it a value")
    return cls(**{key: _convert(hints[key], item, place + key) for key, item in values.items()})


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _convert(next(item for item in arguments if item is not type(None)), value, where)
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise UserError(f"config key {where} needs keys below it, not {value!r}")
        return build(typing.cast(type[Any], hint), value, where)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise UserError(f"config key {where} needs a list like [1,2], not {value!r}")
        return tuple(_convert(arguments[0], item, where) for item in value)
    if origin is dict:
        return dict(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if (hint is not bool and isinstance(value, bool)) or not isinstance(value, hint):
        raise UserError(f"config key {where} needs {hint.__name__}, not {value!r}")
    return value
