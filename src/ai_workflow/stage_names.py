"""Stage names for journals, metrics, task names and cache keys, independent of module names."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable
from typing import Any, TypeVar, cast

from ai_workflow.errors import StageError
from ai_workflow.telemetry import journal

IN_CACHE_KEY = False
Work = TypeVar("Work", bound=Callable[..., Any])
_ATTRIBUTE = "stage_name"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
# Stage name -> the file that declares it. A file may be loaded under several module names.
_files: dict[str, str] = {}


def stage(name: str) -> Callable[[Work], Work]:
    """Return a decorator that names the stage of a function; all functions of a stage are in one file.

    Raises:
        StageError: the name is invalid, reserved, or used by another file.
    """
    if not _NAME.fullmatch(name):
        raise StageError(
            f"stage name {name!r} is not valid", "Use lower-case letters, digits and _, beginning with a letter"
        )
    if name in (journal.RUN, journal.RECOVERY):
        raise StageError(f"stage name {name!r} is reserved for events of whole runs", "Give the stage another name")

    def declare(work: Work) -> Work:
        file = os.path.realpath(work.__code__.co_filename)
        if (other := _files.setdefault(name, file)) != file:
            raise StageError(f"two stages are named {name!r}, in {other} and in {file}", "Rename one of them")
        setattr(work, _ATTRIBUTE, name)
        return work

    return declare


def named(work: Work, name: str) -> Work:
    """Return a function with the code of a stage and another name, which names the stage."""

    @functools.wraps(work)
    def call(*args: Any, **options: Any) -> Any:
        return work(*args, **options)

    setattr(call, _ATTRIBUTE, name)
    return cast(Work, call)


def name_of(work: Callable[..., Any]) -> str:
    """Return the stage name of a function.

    Raises:
        StageError: the function has none.
    """
    name: str | None = getattr(work, _ATTRIBUTE, None)
    if name is None:
        raise StageError(
            f"{getattr(work, '__qualname__', repr(work))} has no stage name",
            "Declare it with `@stage(name)` of ai_workflow.stage_names",
        )
    return name
