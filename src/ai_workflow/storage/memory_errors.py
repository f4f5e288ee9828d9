"""Detection of out-of-memory errors of libraries and the system, whatever their class."""

from __future__ import annotations

import errno
import re
import traceback
from pathlib import PurePath

from ai_workflow.storage.remote_errors import chain

# Texts of the dynamic loader and the system. With another reason, as of a folder mounted noexec, memory is not short.
_SIGNS = re.compile(
    r"failed to map segment|cannot map zero-fill pages|cannot allocate memory(?! in static TLS)|std::bad_alloc",
    re.IGNORECASE,
)
_LOADER = re.compile(r"shared object|map segment|zero-fill pages", re.IGNORECASE)
_OTHER_REASONS = re.compile(r"operation not permitted|permission denied", re.IGNORECASE)
_PACKAGES = {"site-packages", "dist-packages"}


def is_shortage(error: BaseException) -> bool:
    """Return whether an error, or one of its causes, means that memory ran out."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, OSError | ImportError) and any(map(_is_sign, chain(error)))


def library(error: BaseException) -> str | None:
    """Return the package that was being imported when the error was raised, None if there is none."""
    if not any(map(_is_loading, chain(error))):
        return None
    names = [name for each in chain(error) for name in _packages(each)]
    return names[-1] if names else None


def _is_sign(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    text = str(error)
    return bool(_SIGNS.search(text)) and not _OTHER_REASONS.search(text)


def _is_loading(error: BaseException) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    is_imported = any(frame.name == "<module>" and _PACKAGES & {*PurePath(frame.filename).parts} for frame in frames)
    return is_imported or isinstance(error, ImportError) or bool(_LOADER.search(str(error)))


def _packages(error: BaseException) -> list[str]:
    """Return the installed packages in the traceback of an error, the outermost first."""
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    packages = []
    for file in files:
        parts = PurePath(file).parts
        at = next((index for index, part in enumerate(parts) if part in _PACKAGES), None)
        if at is not None and at + 1 < len(parts):
            packages.append(parts[at + 1].removesuffix(".py"))
    return packages
