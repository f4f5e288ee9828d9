"""Fingerprints of settings, data and code, equal in every process."""

from __future__ import annotations

import hashlib
import math
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pydantic import BaseModel

from ai_workflow import json_text
from ai_workflow.code_versions import closure
from ai_workflow.config.settings.config_model import NOT_IN_KEY, ConfigModel
from ai_workflow.plugins import own_versions
from ai_workflow.plugins.names import CodePath

IN_CACHE_KEY = False
LENGTH = 16


def canonical(value: Any) -> str:
    """Return canonical JSON: sorted keys, no spaces."""
    try:
        return json_text.line(value, compact=True, default=_plain_object)
    except (ValueError, json_text.NonFiniteNumberError):
        return json_text.line(_finite(value), compact=True, default=_plain_object)


def of(*values: Any) -> str:
    """Return a fingerprint of 16 hex digits; of a stage result only its own `fingerprint` counts."""
    contents = [
        value["fingerprint"] if isinstance(value, dict) and "fingerprint" in value else value for value in values
    ]
    return hashlib.sha256(canonical(contents).encode()).hexdigest()[:LENGTH]


def _plain_object(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return _options(value)
    if isinstance(value, set | frozenset):
        return sorted(value, key=canonical)
    raise TypeError(f"{type(value).__name__} has no canonical form")


def _finite(value: Any) -> Any:
    """Return a value with the text of each NaN and infinity in place of the number."""
    if isinstance(value, BaseModel | set | frozenset):
        return _finite(_plain_object(value))
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


@cache
def code_version(module: str, *loaded: str, file: str | None = None) -> str:
    """Return a digest of the code of a module, of all its imports, and of the versions of their libraries.

    Comments, docstrings, and names and paths of files do not change it. No module is imported.

    Args:
        module: full name of the module.
        loaded: full names of modules that it loads by name, such as the model family; `name@version` for code with
            a version of its own, which is used as it is.
        file: the source file, for a module that Python does not find by its name.

    Raises:
        StageError: a module is missing, or has no source that can be read.
    """
    explicit = [name for name in loaded if "@" in name]
    code = closure.read(module, *(name for name in loaded if "@" not in name), file=file)
    return of(code.digests, {name: library_version(name) for name in code.libraries}, *explicit)


def of_own_code(path: CodePath) -> str:
    """Return a digest of a team's own code and its imports, or of its explicit version; libraries do not count.

    Raises:
        StageError: the module is not found or cannot be read.
    """
    reference = own_versions.reference(path)
    return of(reference if reference and "@" in reference else closure.read(path.module).digests)


@cache
def library_version(package: str) -> str:
    """Return the installed version of a distribution, or `none`."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _options(model: BaseModel) -> dict[str, Any]:
    """Return the options that can change a result, without those that are None, so that a new option changes no key."""
    used = model.used() if isinstance(model, ConfigModel) else model
    dumped = used.model_dump(mode="json", by_alias=True)
    for name, field in type(used).model_fields.items():
        key, value = field.serialization_alias or field.alias or name, getattr(used, name)
        if NOT_IN_KEY in field.metadata or value is None:
            dumped.pop(key, None)
        elif isinstance(value, BaseModel):
            dumped[key] = _options(value)
    return dumped
