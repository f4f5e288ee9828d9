"""JSON request bodies, with a limit on how long parsing blocks the interpreter."""

from __future__ import annotations

import reprlib
from typing import Any

import orjson

# The parser blocks the interpreter, in whatever thread it runs; objects and lists take most of the time.
MAX_CONTAINERS = 100_000
# Larger bodies are parsed in a thread.
SMALL_BYTES = 32 << 10
_MAX_QUOTED_CHARACTERS = 100


def read(body: bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: the text is not JSON, or has too many objects and lists.
    """
    if len(body) > MAX_CONTAINERS and body.count(b"[") + body.count(b"{") > MAX_CONTAINERS:
        raise ValueError(f"more than {MAX_CONTAINERS} objects and lists. Send fewer rows in a request")
    return orjson.loads(body)


def quoted(value: Any) -> str:
    """Return the representation of a value for an error message, truncated however large or deep the value is."""
    return truncated(reprlib.repr(value))


def truncated(text: str) -> str:
    """Return a text for an error message, truncated."""
    return text if len(text) <= _MAX_QUOTED_CHARACTERS else f"{text[:_MAX_QUOTED_CHARACTERS]}..."
