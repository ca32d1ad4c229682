"""Configs: composed by Hydra, then turned at once into plain frozen dataclasses.

Hydra is imported where a config is composed, so that everything else works without it. A key that
no config file holds is an error; so is a value of the wrong type.
"""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from embodied.config_folder import config_folder
from embodied.errors import UserError

T = TypeVar("T")


def load(command: str, overrides: Sequence[str], **given: Any) -> dict[str, Any]:
    """Compose ``<command>.yaml`` with overrides and return it resolved, as plain values.

    ``given`` sets values by their dotted key without passing through the override grammar.

    Raises:
        UserError: An unknown key or option, a wrong value, or a value that is still missing.
    """
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    chosen = next((item for item in reversed(overrides) if item.startswith("data=")), None)
    plain = [item for item in overrides if not item.startswith("data=")]
    folder = None
    if chosen is not None:
        folder = _folder(chosen)
        plain.append(_paths(chosen) if folder is None else "data.paths=[]")
    try:
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            config = compose(command, overrides=plain)
        for key, item in given.items():
            # Escaped, since a path may hold what looks like an interpolation.
            text = item.replace("${", "\\${") if isinstance(item, str) else item
            OmegaConf.update(config, key, text)
        value = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except Exception as error:  # beside its own errors Hydra asserts and raises ValueError
        raise UserError(_first_sentence(error)) from None
    assert isinstance(value, dict)
    if folder is not None:
        value["data"]["paths"] = [folder]
    return typing.cast(dict[str, Any], value)


def _folder(override: str) -> str | None:
    """Return FOLDER of ``data=FOLDER``, which any name may be; None for every other override.

    Hydra would take it for a file of the group ``data``, and its grammar for more than a name.
    """
    key, _, value = override.partition("=")
    if key != "data" or re.fullmatch(r"\s*", value):
        return None
    group_file = config_folder() / "data" / f"{value}.yaml"
    if re.fullmatch(r"\w+", value) and group_file.is_file():
        return None
    return None if _is_list(value) else value


def _paths(override: str) -> str:
    """Let ``data=[A,B]`` mean ``data.paths=[A,B]``."""
    key, _, value = override.partition("=")
    return f"data.paths={value}" if key == "data" and _is_list(value) else override


def _is_list(value: str) -> bool:
    return value.startswith("[") and value.endswith("]") and not Path(value).exists()


def _first_sentence(error: Exception) -> str:
    from hydra.errors import OverrideParseException

    if isinstance(error, OverrideParseException):
        key = error.override.partition("=")[0]
        return f"cannot read the override {error.override}; quote its value: {key}='\"VALUE\"'"
    text = " ".join(str(error).split())
    if found := re.search(r"Could not override '([^']+)'", text):
        return f"unknown config key {found[1]!r}; `embodied <command> --help` lists the keys"
    if found := re.search(
        r"Could not find '([^'/]+)/([^']+)' Available options in .*?: (.*?) Con", text
    ):
        return f"unknown {found[1]} {found[2]!r}; available: {', '.join(found[3].split())}"
    if found := re.search(r"Interpolation key '([^']+)' not found", text):
        return (
            f"a chosen group or value refers to {found[1]!r}, which this command does not have; "
            "choose another (a reward from a sentence: `embodied reward`, then reward=saved)"
        )
    if found := re.search(r"Missing mandatory value.*full_key: (\S+)", text):
        return f"{found[1]} needs a value; give it as {found[1]}=VALUE"
    return re.split(r"To append|See https|full_key:", text)[0].strip() or type(error).__name__


def sweep(overrides: Sequence[str]) -> list[list[str]]:
    """Return every combination of comma-separated values, as plain overrides (``-m``)."""
    return [list(items) for items in itertools.product(*map(_choices, overrides))]


def _choices(override: str) -> list[str]:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    folder = _folder(override)
    if folder is not None:
        names = [folder] if Path(folder).exists() else folder.split(",")
        return [f"data={name}" for name in names]
    try:
        (parsed,) = OverridesParser.create().parse_overrides([override])
        if not parsed.is_sweep_override():
            return [override]
        return [f"{parsed.get_key_element()}={item}" for item in parsed.sweep_string_iterator()]
    except HydraException as error:
        raise UserError(f"cannot read the sweep: {_first_sentence(error)}") from None


def build(cls: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """Make a dataclass from plain values, checking keys and types.

    Raises:
        UserError: An unknown or missing key, or a value of another type than declared.
    """
    if not isinstance(values, Mapping):
        place = f"config key {where}" if where else "the config"
        raise UserError(f"{place} needs keys with values, not {values!r}")
    hints = typing.get_type_hints(cls)
    known = {item.name: item for item in dataclasses.fields(typing.cast(Any, cls))}
    place = f"{where}." if where else ""
    unknown = sorted(set(values) - set(known), key=str)
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


def options_of(maker: Any, values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the options that a config gives to a maker, checked against its signature.

    What a maker is given by position is no option: only parameters with a default or by keyword.

    Raises:
        UserError: An option that it does not take, or a value of another type than it declares.
    """
    parameters = inspect.signature(maker).parameters.values()
    known = [
        item.name
        for item in parameters
        if item.kind is item.KEYWORD_ONLY or item.default is not item.empty
    ]
    if unknown := sorted(set(values) - {"name", *known}, key=str):
        raise UserError(
            f"unknown config key {where}.{unknown[0]}; known: {', '.join(known) or 'none'}"
        )
    function = maker.__init__ if inspect.isclass(maker) else maker
    hints = typing.get_type_hints(function)
    return {
        key: _convert(hints.get(key, Any), item, f"{where}.{key}")
        for key, item in values.items()
        if key != "name"
    }


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        # A list goes to the alternative that takes one, anything else to the other.
        kinds = [item for item in arguments if item is not type(None)]
        listed = isinstance(value, list | tuple)
        fits = [item for item in kinds if (typing.get_origin(item) is tuple) == listed]
        return _convert((fits or kinds)[0], value, where)
    if dataclasses.is_dataclass(hint):
        return build(typing.cast(type[Any], hint), value, where)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise UserError(f"config key {where} needs a list like [1,2], not {value!r}")
        return tuple(_convert(arguments[0], item, where) for item in value)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise UserError(f"config key {where} needs keys with values, not {value!r}")
        return dict(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if (hint is not bool and isinstance(value, bool)) or not isinstance(value, hint):
        raise UserError(f"config key {where} needs {hint.__name__}, not {value!r}")
    if hint is float and not math.isfinite(value):
        raise UserError(f"config key {where} needs a finite number, not {value!r}")
    return value
