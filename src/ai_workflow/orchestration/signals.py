"""SIGTERM and SIGINT: the first lets the stage at hand save and end, the second ends the process at once."""

from __future__ import annotations

import logging
import os
import signal
import threading
from types import FrameType
from typing import Any

from ai_workflow.runtime import cancellation

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Not one of the loggers that reach Prefect: a signal is heard outside of any run.
log = logging.getLogger("graceful_stop")


def _end(number: int, _: FrameType | None) -> None:
    os._exit(128 + number)


class GracefulStop:
    """Hears the signals while it is open; `pass_on` gives the first one to whoever would have heard it."""

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._heard: int | None = None

    def __enter__(self) -> GracefulStop:
        # Python hears signals in its main thread only; elsewhere whoever owns that thread decides.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._hear) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            # All is saved by now: a second signal, while Prefect winds up, ends the process as it would have before.
            signal.signal(number, handler if self._heard is None else _end)
        cancellation.clear()

    def pass_on(self) -> None:
        """Let Prefect know of a SIGTERM, now that nothing can be lost: it marks the run as crashed, or as cancelled."""
        handler = self._before.get(signal.SIGTERM)
        if self._heard == signal.SIGTERM and callable(handler):
            handler(signal.SIGTERM, None)

    def _hear(self, number: int, _: FrameType | None) -> None:
        if self._heard is not None:
            _end(number, None)
        self._heard = number
        cancellation.request(number)
        log.warning("%s: the stage at hand saves and ends; once more ends it at once", signal.Signals(number).name)
