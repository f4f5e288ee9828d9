"""What a model's process prints: lines of our own log, whatever bytes they are; the last may say why it ended."""

from __future__ import annotations

import asyncio
import os

from ai_workflow.telemetry.logs import logger

# A library that prints with every row must not fill the log.
_MOST_LINES, _LONGEST = 20, 300
_PIECE = 65_536
log = logger("serving")


class WorkerOutput:
    """The read end of a pipe, drained until the process is gone.

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
        """Close the end that the process has got by now."""
        os.close(self.end)

    def drain(self) -> str:
        """Take what there is, and return the last line so far."""
        self._readable()
        return self.last

    def _readable(self) -> None:
        while self._handle >= 0:
            try:
                data = os.read(self._handle, _PIECE)
            except BlockingIOError:
                return
            if not data:
                asyncio.get_running_loop().remove_reader(self._handle)
                os.close(self._handle)
                self._handle = -1
                return
            *lines, rest = (self._rest + data).split(b"\n")
            self._rest = rest[-_LONGEST:]
            for line in lines:
                self._said(line)

    def _said(self, line: bytes) -> None:
        text = "".join(c if c.isprintable() else "?" for c in line[:_LONGEST].decode(errors="replace")).strip()
        if not text:
            return
        self.last = text
        self._lines += 1
        if self._lines <= _MOST_LINES:
            more = ", and says no more here" if self._lines == _MOST_LINES else ""
            log.warning("%s prints: %s%s", self._name, text, more)
