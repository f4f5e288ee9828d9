"""Errors of LightGBM as MemoryError or StageError."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import lightgbm

from ai_workflow.errors import StageError
from ai_workflow.runtime import memory_pressure
from ai_workflow.training.families.native_output import silence_native_stderr

# LightGBM's messages end with a location in its C++ code.
CODE_LOCATION = re.compile(r" at \S+, line \d+ \.\s*$")
_OUT_OF_MEMORY = ("bad_alloc", "out of memory")


@contextlib.contextmanager
def translated_memory_errors(remedy: str = "") -> Iterator[None]:
    """Raise LightGBM's out-of-memory errors as MemoryError, or with a remedy as OutOfMemoryError.

    The native error output is discarded, because the exception has the same text.
    """
    try:
        with silence_native_stderr():
            yield
    except lightgbm.basic.LightGBMError as error:
        if not any(text in str(error) for text in _OUT_OF_MEMORY):
            raise
        if not remedy:
            raise MemoryError(str(error)) from error
        raise memory_pressure.OutOfMemoryError(f"memory ran out in LightGBM ({error})", remedy) from error


@contextlib.contextmanager
def translated_errors(where: str) -> Iterator[None]:
    """Raise an error of LightGBM as a StageError that names the operation, or as a MemoryError."""
    try:
        with translated_memory_errors():
            yield
    except lightgbm.basic.LightGBMError as error:
        raise StageError(
            f"LightGBM failed {where}: {CODE_LOCATION.sub('', str(error))}",
            "Check trainer.params and the number of rows; publish another version if a published model fails",
        ) from error
