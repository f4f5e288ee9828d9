"""JSON of request bodies, with a bound on how long reading it may hold the interpreter."""

from __future__ import annotations

import reprlib
from typing import Any

import orjson

# The reader holds the interpreter until it is done, in whatever thread; objects and lists are what takes it long.
MAX_CONTAINERS = 100_000
# Larger bodies are read in a thread.
SMALL_BYTES = 32 << 10
_SHOWN_CHARACTERS = 100


def read(body: bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: it is not JSON, or has too many objects and lists.
    """
    if len(body) > MAX_CONTAINERS and body.count(b"[") + body.count(b"{") > MAX_CONTAINERS:
        raise ValueError(f"more than {MAX_CONTAINERS} objects and lists. Send fewer rows in a request")
    return orjson.loads(body)


def quoted(value: Any) -> str:
    """Return a value as an error message quotes it: shortened, however large or deep the value is."""
    text = reprlib.repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def truncated(text: str) -> str:
    """Return a text as an error message quotes it, shortened."""
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
