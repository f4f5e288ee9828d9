"""Validation of file names: UTF-8, as JSON and Prefect require, and readable in the locale."""

from __future__ import annotations

import os
import sys

from ai_workflow.errors import StageError


def require_utf8(name: str, key: str) -> None:
    """Raise StageError unless a name can be encoded as UTF-8 and for the file system.

    Args:
        name: the path or URL.
        key: the configuration key or the kind of the file, for the message.
    """
    try:
        name.encode()
        os.fsencode(name)
    except UnicodeEncodeError as error:
        shown = name.encode("utf-8", "backslashreplace").decode()
        encoding = sys.getfilesystemencoding()
        if encoding == "utf-8":
            raise StageError(f"{key} '{shown}': the name is not valid UTF-8", "Rename the file or folder") from error
        raise StageError(
            f"{key} '{shown}': the locale makes Python read file names as {encoding}",
            "Set PYTHONUTF8=1 or LC_ALL=C.UTF-8",
        ) from error
