"""Names of own code: `module:name`, or the name of an entry point of an installed package."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Literal

from ai_workflow.errors import StageError

Group = Literal["trainers", "sources", "features", "metrics", "channels", "stages"]
_PATH = re.compile(r"(?P<module>[^\W\d]\w*(?:\.[^\W\d]\w*)*):(?P<name>[^\W\d]\w*)")


@dataclass(frozen=True, slots=True)
class CodePath:
    """A module, and the name of an object in it."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}:{self.name}"


def path(group: Group, text: str) -> CodePath | None:
    """Return the path of own code, or None for a name that neither is a path nor has an entry point.

    Raises:
        StageError: two packages have an entry point of this name, or it names no object.
    """
    if match := _PATH.fullmatch(text):
        return CodePath(match["module"], match["name"])
    values = _entry_points(group).get(text, {})
    if len(values) > 1:
        packages = " and ".join(sorted(values.values()))
        raise StageError(
            f"{text}: the entry point is in {packages}, so its meaning is not clear",
            f"Uninstall all but one of them, or write module:name. Its values are {', '.join(sorted(values))}",
        )
    for value, package in values.items():
        if match := _PATH.fullmatch(value):
            return CodePath(match["module"], match["name"])
        raise StageError(
            f"{text}: the entry point of {package} is {value!r}, which names no object of a module",
            "Correct its pyproject.toml: module:name",
        )
    return None


def required_path(group: Group, text: str, label: str) -> CodePath:
    """Return the path of own code.

    Args:
        group: the group of entry points.
        text: a path, or the name of an entry point.
        label: what is missing if no entry point has this name.

    Raises:
        StageError: no entry point has this name, or its meaning is not clear.
    """
    if found := path(group, text):
        return found
    raise StageError(f"{label} {text}", "Install the package whose entry point has this name")


def problem(group: Group, text: str, built_in: Collection[str]) -> str | None:
    """Return the reason why a name cannot be used, with the known names; None if it can."""
    try:
        if text in built_in or path(group, text):
            return None
    except StageError as error:
        return str(error)
    known = [*built_in, *sorted(_entry_points(group))]
    similar = difflib.get_close_matches(text, known, 1)
    hint = f"did you mean '{similar[0]}'? " if similar else ""
    return f"unknown name {text!r}; {hint}known: {', '.join(known) or 'none'}; own code is written module:name"


def _entry_points(group: Group) -> dict[str, dict[str, str]]:
    """Return {name: {value: package}} of all installed packages."""
    names: dict[str, dict[str, str]] = {}
    for point in entry_points(group=f"ai_workflow.{group}"):
        names.setdefault(point.name, {})[point.value.replace(" ", "")] = _package(point)
    return names


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist else "an installed package"
