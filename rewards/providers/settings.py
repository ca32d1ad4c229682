"""What the providers' configs share: reading them, their caps, the address and the key."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar
from urllib.parse import urlsplit

from embodied.config import build
from embodied.errors import UserError
from rewards.providers.budget import Caps

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
C = TypeVar("C")


def config_of(cls: type[C], values: C | Mapping[str, Any], name: str, required: Sequence[str]) -> C:
    """Return a provider's config from plain values, or as it is given.

    Raises:
        UserError: An unknown, missing or mistyped setting; the line lists the known ones.
    """
    if not isinstance(values, Mapping):
        return values
    known = [item.name for item in fields(cls)]  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(known))
    missing = [item for item in required if not values.get(item)]
    if unknown or missing:
        problem = (
            f"unknown setting {unknown[0]!r}" if unknown else f"provider.{missing[0]} is missing"
        )
        raise UserError(f"{problem}; the {name} provider takes: {', '.join(known)}")
    return build(cls, values, "provider")


def caps(config: Any) -> Caps:
    """Return the caps among a provider's settings, which have the names of those of ``Caps``."""
    return Caps(**{item.name: getattr(config, item.name, None) for item in fields(Caps)})


def checked_base_url(base_url: str, key_env: str | None) -> str:
    """Return the address of an API without its last slash.

    Raises:
        UserError: It is none, holds a password, or a key would travel to it unencrypted.
    """
    try:
        parts = urlsplit(base_url)
        host, _ = parts.hostname, parts.port
        (host or "").encode("idna")  # as the resolver will; refuses a..b
        if not re.fullmatch(r"[!-~]*", parts.path):
            raise ValueError
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise UserError(
            "provider.base_url must look like http://127.0.0.1:8000/v1 or https://host/v1"
        )
    if parts.username is not None or parts.password is not None:
        raise UserError("provider.base_url holds a password; give the key by provider.key_env")
    if key_env is not None and parts.scheme == "http" and host not in LOOPBACK:
        raise UserError(
            f"the key would travel unencrypted to {host}; use https, or a tunnel to 127.0.0.1"
        )
    return base_url.rstrip("/")


def key_from_environment(name: str | None) -> str | None:
    """Return the key in an environment variable; None where no variable is named.

    Raises:
        UserError: It is not set, or holds what cannot be a key; its value is not told.
    """
    if name is None:
        return None
    key = os.environ.get(name, "").strip()
    if not key:
        raise UserError(
            f"the environment variable {name} is not set; export the key in it, or set "
            "provider.key_env=null for a server that needs none"
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise UserError(f"the environment variable {name} does not hold a key; export it again")
    return key
