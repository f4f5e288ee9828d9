"""Suppression of messages that C code writes to standard error."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Iterator
from functools import cache


@contextlib.contextmanager
def silence_native_stderr() -> Iterator[None]:
    """Discard output of C code to `stderr` within the context; Python and its log are not affected.

    Only the C library's stream is replaced, so the file descriptor stays open for other threads. Without such a stream
    the context has no effect.
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
    """Variable `stderr` of the C library: the first thread that enters replaces it, the last one restores it."""

    def __init__(self) -> None:
        library = ctypes.CDLL(None)
        self._variable = ctypes.c_void_p.in_dll(library, "stderr")
        library.fopen.restype = ctypes.c_void_p
        self._sink = library.fopen(os.devnull.encode(), b"w")
        self._standard = self._variable.value
        self._lock = threading.Lock()
        self._threads = 0

    def enter(self) -> None:
        """Add a thread, and replace the stream if it is the first."""
        with self._lock:
            self._threads += 1
            self._variable.value = self._sink or self._standard

    def leave(self) -> None:
        """Remove a thread, and restore the stream if it was the last."""
        with self._lock:
            self._threads -= 1
            if not self._threads:
                self._variable.value = self._standard


@cache
def _stream() -> _Stream | None:
    """Return the stream of the C library, or None if it has no variable of this name."""
    try:
        return _Stream()
    except (OSError, ValueError, AttributeError):
        return None
