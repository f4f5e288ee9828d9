"""Relative paths in the configuration: relative to the folder of the file that names them."""

from __future__ import annotations

import glob
import re
from pathlib import Path

_MAGIC = re.compile(r"[*?\[]")
_SQLITE = re.compile(r"(?P<scheme>sqlite(?:\+\w+)?:///)(?P<path>(?!/|:memory:|file:)[^?#]+)(?P<rest>.*)", re.DOTALL)
_FILE = "file://"


def absolute(value: str, folder: Path) -> str:
    """Return a path, glob, file:// URL, chained fsspec URL or SQLite URL as an absolute one; other URLs as they are.

    Args:
        value: the configured text.
        folder: the folder of the file that names it.
    """
    if match := _SQLITE.fullmatch(value):
        return f"{match['scheme']}{folder / match['path']}{match['rest']}"
    chain, separator, place = value.rpartition("::")
    scheme = _FILE if place.startswith(_FILE) else ""
    local = place.removeprefix(scheme)
    if "://" in local or local.startswith(("/", "~")):
        return value
    # A folder whose name holds `[` or `*` must not become part of the pattern.
    base = Path(glob.escape(str(folder))) if _MAGIC.search(local) and not chain else folder
    return f"{chain}{separator}{scheme}{base / local}"
