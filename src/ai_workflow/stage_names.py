"""Names of stages: journals, metrics, task names and cache keys bear them, wherever the code of the stage is."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any, TypeVar

from ai_workflow.errors import StageError
from ai_workflow.telemetry import journal

IN_CACHE_KEY = False
Work = TypeVar("Work", bound=Callable[..., Any])
_ATTRIBUTE = "stage_name"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
# The file that declares each name: a file may be loaded under several module names.
_files: dict[str, str] = {}


def stage(name: str) -> Callable[[Work], Work]:
    """Declare that a function is the work of the stage `name`; the functions of one stage are in one file.

    Raises:
        StageError: the name is not valid, is one that journals use otherwise, or is that of another stage.
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


def name_of(work: Callable[..., Any]) -> str:
    """Return the name of the stage that a function is the work of.

    Raises:
        StageError: it declares none.
    """
    name: str | None = getattr(work, _ATTRIBUTE, None)
    if name is None:
        raise StageError(
            f"{getattr(work, '__qualname__', repr(work))} has no stage name",
            "Declare it with `@stage(name)` of ai_workflow.stage_names",
        )
    return name
