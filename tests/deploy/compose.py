"""Reads deploy/compose.yaml as Compose would: anchors merged, variables filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
FILE = DEPLOY / "compose.yaml"
EXAMPLE = DEPLOY / ".env.example"
# What Compose knows of substitution, as far as the file uses it: ${NAME}, ${NAME:-default}, ${NAME:?complaint}.
_VARIABLE = re.compile(r"\$\{(?P<name>[A-Z0-9_]+)(?::(?P<kind>[-?])(?P<rest>[^}]*))?\}")


def read(path: Path = FILE) -> dict[str, Any]:
    """Return the file as it stands, with its variables."""
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


def filled(variables: Mapping[str, str]) -> dict[str, Any]:
    """Return the file with its variables filled in; a KeyError names one that must be set and is not."""
    found: dict[str, Any] = yaml.safe_load(_VARIABLE.sub(lambda match: _value(match, variables), FILE.read_text()))
    for service in found["services"].values():
        # A variable without a value is handed on where there is one, and else is not there.
        given = service.get("environment", {})
        handed = {name: variables.get(name) if value is None else str(value) for name, value in given.items()}
        service["environment"] = {name: value for name, value in handed.items() if value is not None}
    return found


def required() -> set[str]:
    """Return the variables that Compose refuses to start without."""
    return {match["name"] for match in _VARIABLE.finditer(FILE.read_text()) if match["kind"] == "?"}


def used() -> set[str]:
    """Return every variable that the file names."""
    text = FILE.read_text()
    handed = {
        name for service in read()["services"].values() for name, value in service.get("environment", {}).items()
        if value is None
    }  # fmt: skip
    return {match["name"] for match in _VARIABLE.finditer(text)} | handed


def example() -> dict[str, bool]:
    """Return the variables of .env.example, and whether each must be filled in: the others are comments."""
    lines = re.findall(r"^(#?)([A-Z0-9_]+)=", EXAMPLE.read_text(), flags=re.MULTILINE)
    return {name: not commented for commented, name in lines}


def _value(match: re.Match[str], variables: Mapping[str, str]) -> str:
    value = variables.get(match["name"], "")
    if match["kind"] == "-":
        return value or match["rest"]
    if match["kind"] == "?" and not value:
        raise KeyError(match["name"])
    return value
