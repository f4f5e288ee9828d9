"""Errors of LightGBM: those that mean that memory ran out, and all others with their place."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import lightgbm

from ai_workflow.errors import StageError
from ai_workflow.runtime import memory_pressure
from ai_workflow.training.families.native_output import silenced

# The end of LightGBM's messages: a line of its C++ code.
CODE_PLACE = re.compile(r" at \S+, line \d+ \.\s*$")
_NO_MEMORY = ("bad_alloc", "out of memory")


@contextlib.contextmanager
def memory_watched(remedy: str = "") -> Iterator[None]:
    """Raise a MemoryError if LightGBM's own error means that memory ran out; with a remedy, if given.

    What the library prints of an error is left out, because the exception has the same text.
    """
    try:
        with silenced():
            yield
    except lightgbm.basic.LightGBMError as error:
        if not any(sign in str(error) for sign in _NO_MEMORY):
            raise
        if not remedy:
            raise MemoryError(str(error)) from error
        raise memory_pressure.OutOfMemoryError(f"memory ran out in LightGBM ({error})", remedy) from error


@contextlib.contextmanager
def explained(where: str) -> Iterator[None]:
    """Raise an error of LightGBM as a StageError with its place, or as a MemoryError."""
    try:
        with memory_watched():
            yield
    except lightgbm.basic.LightGBMError as error:
        raise StageError(
            f"LightGBM failed {where}: {CODE_PLACE.sub('', str(error))}",
            "Check trainer.params and the number of rows; publish another version if a published model fails",
        ) from error
