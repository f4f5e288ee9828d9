"""Fingerprints of settings, data and code: the same thing gives the same text in every process."""

from __future__ import annotations

import hashlib
import math
import re
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ai_workflow import json_text

LENGTH = 16
_PACKAGE = Path(__file__).parent
_IMPORT = re.compile(r"^\s*from (ai_workflow[\w.]*) import (?:\(([^)]*)\)|([\w ,]+))", re.MULTILINE)
# A module that is imported by its name in a string, as the model families are.
_NAMED = re.compile(r'"(ai_workflow\.[\w.]+)"')
# Another version of these may give other bytes for the same rows.
_LIBRARIES = ("lightgbm", "numpy", "pandas", "pyarrow", "scikit-learn")
# Rooms whose change cannot change a stage's result; all others count as code of the stage that imports them.
_NOT_CODE = {
    "logs",
    "trace",
    "observe",
    "journal",
    "errors",
    "progress",
    "interrupt",
    "checkpoint",
    "settings",
    "secrets",
    "fingerprint",
    "store",
    "metrics",
}


def canonical(value: Any) -> str:
    """Return canonical JSON: sorted keys, no spaces."""
    return json_text.line(_plain(value), compact=True)


def of(*values: Any) -> str:
    """Return 16 hex digits that stand for the values; a stage's result counts as its own `fingerprint`."""
    meant = [value["fingerprint"] if isinstance(value, dict) and "fingerprint" in value else value for value in values]
    return hashlib.sha256(canonical(meant).encode()).hexdigest()[:LENGTH]


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return _plain(value.model_dump(mode="json", by_alias=True))
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((_plain(item) for item in value), key=canonical)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"{type(value).__name__} has no canonical form")


@cache
def code_version(module: str) -> str:
    """Return a digest of a module's source, of all it imports from this package, and of the libraries that compute.

    Imports are found in the text, not by importing, so that asking stays cheap for a run that computes nothing.
    """
    digest = hashlib.sha256()
    for path in sorted(_closure(_file(module))):
        digest.update(f"{path.relative_to(_PACKAGE)}\n".encode() + path.read_bytes())
    digest.update(canonical({name: library_version(name) for name in _LIBRARIES}).encode())
    return digest.hexdigest()[:LENGTH]


@cache
def library_version(package: str) -> str:
    """Return the installed version of a distribution, or `none`."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _closure(first: Path) -> set[Path]:
    seen: set[Path] = set()
    queue = [first]
    while queue:
        path = queue.pop()
        if path not in seen and path.relative_to(_PACKAGE).parts[0].removesuffix(".py") not in _NOT_CODE:
            seen.add(path)
            queue += _imported(path)
    return seen | {first}


def _imported(path: Path) -> list[Path]:
    text = path.read_text(encoding="utf-8")
    found = [_file(module) for module in _NAMED.findall(text)]
    for module, several, one in _IMPORT.findall(text):
        names = [name.split()[0] for name in (several or one).split(",") if name.strip()]
        inner = [file for name in names if (file := _file(f"{module}.{name}")).is_file()]
        found += inner or [_file(module)]
    return [file for file in found if file.is_file() and file != _PACKAGE / "__init__.py"]


def _file(module: str) -> Path:
    place = _PACKAGE.joinpath(*module.split(".")[1:])
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
