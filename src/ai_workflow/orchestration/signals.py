"""SIGTERM and SIGINT: the first signal lets the current stage save and end, the second ends the process at once."""

from __future__ import annotations

import logging
import os
import signal
import threading
from types import FrameType
from typing import Any

from ai_workflow.runtime import cancellation

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Not one of the loggers that reach Prefect: a signal arrives outside of any run.
log = logging.getLogger("graceful_stop")


def _exit(number: int, _: FrameType | None) -> None:
    os._exit(128 + number)


class GracefulStop:
    """Signal handlers within a context; `forward` passes the first SIGTERM to the previous handler."""

    def __init__(self) -> None:
        self._previous: dict[int, Any] = {}
        self._received: int | None = None

    def __enter__(self) -> GracefulStop:
        # Python handles signals in its main thread only.
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            # All is saved by now: a second signal, while Prefect winds up, ends the process.
            signal.signal(number, handler if self._received is None else _exit)
        cancellation.clear()

    def forward(self) -> None:
        """Pass a SIGTERM to Prefect once everything is saved: it marks the run as crashed, or as cancelled."""
        handler = self._previous.get(signal.SIGTERM)
        if self._received == signal.SIGTERM and callable(handler):
            handler(signal.SIGTERM, None)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self._received is not None:
            _exit(number, None)
        self._received = number
        cancellation.request(number)
        log.warning(
            "%s: the current stage saves its progress and ends; a second signal ends it at once",
            signal.Signals(number).name,
        )
