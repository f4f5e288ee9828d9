"""The messages that a C library writes to standard error by itself, without those of Python."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Iterator
from functools import cache


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Discard within the context what C code prints to `stderr`; Python, and its log, writes on as before.

    Standard error itself stays open for other threads: only the stream of the C library is another one. Without such a
    stream, nothing changes.
    """
    if (stream := _stream()) is None:
        yield
        return
    stream.enter()
    try:
        yield
    finally:
        stream.leave()


class _Stream:
    """The variable `stderr` of the C library: the first thread that enters replaces it, the last one restores it."""

    def __init__(self) -> None:
        library = ctypes.CDLL(None)
        self._variable = ctypes.c_void_p.in_dll(library, "stderr")
        library.fopen.restype = ctypes.c_void_p
        self._sink = library.fopen(os.devnull.encode(), b"w")
        self._standard = self._variable.value
        self._lock, self._inside = threading.Lock(), 0

    def enter(self) -> None:
        """Count a thread in."""
        with self._lock:
            self._inside += 1
            self._variable.value = self._sink or self._standard

    def leave(self) -> None:
        """Count a thread out."""
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._variable.value = self._standard


@cache
def _stream() -> _Stream | None:
    """Return the stream of the C library, or None where it has none of that name."""
    try:
        return _Stream()
    except (OSError, ValueError, AttributeError):
        return None
