"""Relative paths of the configuration, relative to the folder of the file that sets them."""

from __future__ import annotations

import glob
import re
from pathlib import Path

_MAGIC = re.compile(r"[*?\[]")
_SQLITE = re.compile(r"(?P<scheme>sqlite(?:\+\w+)?:///)(?P<path>(?!/|:memory:|file:)[^?#]+)(?P<rest>.*)", re.DOTALL)
_FILE = "file://"


def absolute(value: str, folder: Path) -> str:
    """Return the absolute form of a path, glob, file:// URL, chained fsspec URL or SQLite URL; others unchanged.

    Args:
        value: the configured text.
        folder: the folder of the file that sets it.
    """
    if match := _SQLITE.fullmatch(value):
        return f"{match['scheme']}{folder / match['path']}{match['rest']}"
    chain, separator, target = value.rpartition("::")
    scheme = _FILE if target.startswith(_FILE) else ""
    local = target.removeprefix(scheme)
    if "://" in local or local.startswith(("/", "~")):
        return value
    # A `[` or `*` in the name of the folder is not part of the pattern.
    base = Path(glob.escape(str(folder))) if _MAGIC.search(local) and not chain else folder
    return f"{chain}{separator}{scheme}{base / local}"
