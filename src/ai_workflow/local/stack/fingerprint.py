"""Fingerprint of the variables and settings that a stack was started with; it contains no values.

Each value is a digest (HMAC-SHA256) with a random key of the stack, so that a short secret cannot be guessed from it
without the file that holds the key.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from ai_workflow import json_text
from ai_workflow.config import environment, variables
from ai_workflow.config.loader import Loaded
from ai_workflow.local import server_environment
from ai_workflow.local.stack.services import SECRETS
from ai_workflow.provisioning.blocks import block_catalogue
from ai_workflow.secret_values import Secret, variable

# Variables of Prefect and of the storage libraries.
_PREFIXES = ("PREFECT_", "AWS_", "AZURE_", "GOOGLE_", "FSSPEC_")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_NAMES = frozenset((
    "AIW_ENVIRONMENT", "AIW_CONFIG", "AIW_ROOT", "AIW_ETC", "AIW_OS_RELEASE", "AIW_ALLOWED_ORIGINS",
    *(row.name for row in variables.VARIABLES), *SECRETS, *environment.CERTIFICATES,
    *_PROXIES, *(name.lower() for name in _PROXIES),
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Digests of variables and settings by name, and their HMAC key, in hexadecimal digits."""

    key: str = field(repr=False)
    digests: Mapping[str, str] = field(repr=False)

    def changed(self, loaded: Loaded, env: Mapping[str, str]) -> list[str]:
        """Return the names of the variables and settings that have changed; variables first."""
        current = of(loaded, env, self.key, frozenset(self.digests)).digests
        names = [name for name in {**self.digests, **current} if self.digests.get(name) != current.get(name)]
        return sorted(names, key=lambda name: (not name.isupper(), name))


def of(
    loaded: Loaded, env: Mapping[str, str], key: str | None = None, names: frozenset[str] = frozenset()
) -> Fingerprint:
    """Return the fingerprint of a configuration and an environment.

    Args:
        loaded: the configuration; literal secrets count by value, others by name and by their variable.
        env: the environment; an empty variable counts as unset.
        key: the HMAC key; a random one if not given.
        names: further variables, such as those that the configuration referred to before.
    """
    key = secrets.token_hex(32) if key is None else key
    values = {**_variables(loaded, env, names), **dict(_leaves(loaded.settings, ""))}
    return Fingerprint(key, {name: _digest(key, name, value) for name, value in values.items()})


def _digest(key: str, name: str, value: object) -> str:
    return hmac.digest(bytes.fromhex(key), json_text.line([name, value]).encode(), "sha256").hex()


def _variables(loaded: Loaded, env: Mapping[str, str], further: frozenset[str]) -> dict[str, str]:
    """Return the variables that services and runs read, with encoded values."""
    names = _names() | further | variables.of_chat(loaded) | {variable(name) for name in _secrets(loaded.settings)}
    passed = server_environment.without_prefect_settings(env)
    return {
        name: value.encode(errors="surrogateescape").hex()
        for name, value in passed.items()
        if value and (name in names or name.startswith(_PREFIXES))
    }


def _secrets(value: object) -> Iterator[str]:
    """Yield the name of each secret that settings refer to."""
    if isinstance(value, Secret):
        yield from [value.name] if value.name else []
    elif isinstance(value, BaseModel | Mapping | tuple):
        for child in value if isinstance(value, tuple) else _members(value).values():
            yield from _secrets(child)


def _leaves(value: BaseModel | Mapping[str, Any], above: str) -> Iterator[tuple[str, object]]:
    for name, child in _members(value).items():
        key = f"{above}{name}"
        if isinstance(child, BaseModel | Mapping):
            yield from _leaves(child, f"{key}.")
        else:
            yield key, _plain(child)


def _members(value: BaseModel | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    return {field.alias or name: getattr(value, name) for name, field in type(value).model_fields.items()}


def _plain(value: object) -> object:
    if isinstance(value, Secret):
        return {"secret": value.name} if value.name else {"literal": value.reveal()}
    if isinstance(value, BaseModel | Mapping):
        return {name: _plain(child) for name, child in _members(value).items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _names() -> frozenset[str]:
    """Return the variables to include, with those of the block catalogue."""
    secrets = (block.variable for block in block_catalogue.secrets())
    return _NAMES | {*secrets, *(name for chat in block_catalogue.chats() for name in chat.variables.values())}
