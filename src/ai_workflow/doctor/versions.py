"""Check of Python and of the installed packages against the requirements of this project."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from ai_workflow.doctor.context import Context
from ai_workflow.doctor.finding import Finding

_DISTRIBUTION = "ai-workflow"


def check(_: Context) -> Iterator[Finding]:
    """Yield each package that is missing or does not fit, and a Python that does not."""
    python = metadata.metadata(_DISTRIBUTION)["Requires-Python"]
    if python and not SpecifierSet(python).contains(platform.python_version(), prereleases=True):
        what = f"Python {platform.python_version()} is installed, {_DISTRIBUTION} requires {python}"
        yield Finding("error", what, sys.executable, "Install it with another Python (README.md, Quickstart)")
    for text in metadata.requires(_DISTRIBUTION) or ():
        yield from _package(Requirement(text))


def requirement(package: str) -> SpecifierSet:
    """Return the versions of a package that this project requires."""
    for text in metadata.requires(_DISTRIBUTION) or ():
        if (required := Requirement(text)).name == package:
            return required.specifier
    return SpecifierSet()


def _package(required: Requirement) -> Iterator[Finding]:
    is_extra = required.marker is not None and not required.marker.evaluate({"extra": ""})
    if is_extra and required.marker is not None and "extra" not in str(required.marker):
        return
    remedy = f"pip install '{required.name}{required.specifier}', or install requirements.lock again"
    try:
        installed = metadata.version(required.name)
    except metadata.PackageNotFoundError:
        if not is_extra:
            yield Finding("error", f"{required.name} is not installed", f"{_DISTRIBUTION} requires {required}", remedy)
        return
    if not required.specifier.contains(installed, prereleases=True):
        what = f"{required.name} {installed} is installed, {_DISTRIBUTION} requires {required.specifier}"
        place = metadata.distribution(required.name).locate_file("")
        yield Finding("warning" if is_extra else "error", what, str(place), remedy)
