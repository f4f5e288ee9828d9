"""Syntax of source files that earlier processes parsed, in a file below the cache folder of the user.

Parsing every module of the package takes a quarter of a second, which each run would repeat. An entry is found by the
digest of the source text, and the file by that of the parser, so no entry can be outdated.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import tempfile
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from ai_workflow import json_text
from ai_workflow.code_versions import syntax
from ai_workflow.code_versions.syntax import Import, Syntax

_MAX_ENTRIES = 1024
_new: dict[str, Syntax] = {}


@lru_cache(maxsize=4096)
def read(source: bytes) -> Syntax:
    """Return the syntax of a source text, from the cache if it was parsed before.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: the text is not Python, or is nested too deeply.
    """
    key = hashlib.sha256(source).hexdigest()
    with contextlib.suppress(KeyError, TypeError):  # a missing or damaged entry
        return _from_json(_stored()[key])
    _new[key] = syntax.read(source)
    return _new[key]


def save() -> None:
    """Add the newly parsed syntax to the file; a folder that cannot be written costs only time."""
    path = _path()
    if not _new or path is None:
        return
    parsed = {key: _to_json(value) for key, value in dict(_new).items()}
    _new.clear()
    _stored().update(parsed)
    entries = _load(path) | _stored()
    body = dict(list(entries.items())[-_MAX_ENTRIES:])
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as file:
            file.write(json_text.line(body, sort_keys=False, ensure_ascii=True, compact=True).encode())
        Path(file.name).replace(path)


@cache
def _path() -> Path | None:
    """Return the file for this parser, None without a cache folder."""
    parser = f"{sys.version}\n".encode() + Path(syntax.__file__).read_bytes()
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # no home folder
        return None
    return folder / "ai-workflow" / f"syntax-{hashlib.sha256(parser).hexdigest()[:16]}.json"


@cache
def _stored() -> dict[str, Any]:
    path = _path()
    return {} if path is None else _load(path)


def _load(path: Path) -> dict[str, Any]:
    """Return the entries of a file as JSON, none if it is missing or damaged."""
    try:
        entries = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}


def _to_json(parsed: Syntax) -> dict[str, Any]:
    return {
        "digest": parsed.digest,
        "is_empty": parsed.is_empty,
        "is_marked": parsed.is_marked,
        "imports": [_import_to_json(each) for each in parsed.imports],
        "exported": [_import_to_json(each) for each in parsed.exported.values()],
        "dotted": parsed.dotted,
        "called": parsed.called,
        "file_names": sorted(parsed.file_names),
    }


def _import_to_json(each: Import) -> list[Any]:
    return [each.bound, each.level, each.module, each.attribute]


def _from_json(entry: dict[str, Any]) -> Syntax:
    exported = [Import(*each) for each in entry["exported"]]
    return Syntax(
        digest=entry["digest"],
        is_empty=entry["is_empty"],
        is_marked=entry["is_marked"],
        imports=[Import(*each) for each in entry["imports"]],
        exported={each.bound: each for each in exported},
        dotted=entry["dotted"],
        called=entry["called"],
        file_names=set(entry["file_names"]),
    )
