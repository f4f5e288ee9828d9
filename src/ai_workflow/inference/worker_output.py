"""Output of a worker process as log lines; the last line may explain why it ended."""

from __future__ import annotations

import asyncio
import os

from ai_workflow.telemetry.logs import logger

# A library that prints with every row must not fill the log.
_MAX_LINES, _MAX_LINE_BYTES = 20, 300
_READ_BYTES = 65_536
log = logger("serving")


class WorkerOutput:
    """The read end of a pipe, read until the process has ended.

    Args:
        name: the version, for the log.
    """

    def __init__(self, name: str) -> None:
        self._name, self._lines, self.last = name, 0, ""
        self._rest = b""
        self._handle, self.end = os.pipe()
        os.set_blocking(self._handle, False)
        asyncio.get_running_loop().add_reader(self._handle, self._readable)

    def close_end(self) -> None:
        """Close the write end, which the process has inherited by now."""
        os.close(self.end)

    def drain(self) -> str:
        """Read the available output, and return the last line so far."""
        self._readable()
        return self.last

    def _readable(self) -> None:
        while self._handle >= 0:
            try:
                data = os.read(self._handle, _READ_BYTES)
            except BlockingIOError:
                return
            if not data:
                asyncio.get_running_loop().remove_reader(self._handle)
                os.close(self._handle)
                self._handle = -1
                return
            *lines, rest = (self._rest + data).split(b"\n")
            self._rest = rest[-_MAX_LINE_BYTES:]
            for line in lines:
                self._log(line)

    def _log(self, line: bytes) -> None:
        text = "".join(c if c.isprintable() else "?" for c in line[:_MAX_LINE_BYTES].decode(errors="replace")).strip()
        if not text:
            return
        self.last = text
        self._lines += 1
        if self._lines <= _MAX_LINES:
            more = " (further output is not logged)" if self._lines == _MAX_LINES else ""
            log.warning("%s prints: %s%s", self._name, text, more)
