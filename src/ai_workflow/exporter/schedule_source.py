"""Periodic reading of schedules in a separate thread, because the Prefect server may be slow or down."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Protocol

from ai_workflow.exporter.failures import Failures

NAME = "prefect"
SECONDS = 60.0


class Schedules(Protocol):
    """A source of schedules."""

    def expected(self) -> Mapping[tuple[str, str], float]:
        """Return the scheduled interval in seconds by pipeline and flow."""


class ScheduleSource:
    """Schedules of the last successful read.

    Args:
        schedules: source of schedules.
        failures: counter of failures.
        seconds: interval between two requests.
    """

    def __init__(self, schedules: Schedules, failures: Failures, seconds: float = SECONDS) -> None:
        self._schedules, self._failures, self._seconds = schedules, failures, seconds
        self._intervals: Mapping[tuple[str, str], float] = {}

    def intervals(self) -> Mapping[tuple[str, str], float]:
        """Return the last intervals that were read, in seconds by pipeline and flow."""
        return self._intervals

    def start(self, stopped: threading.Event) -> None:
        """Read the schedules periodically in a thread until `stopped` is set."""
        threading.Thread(target=self._run, args=(stopped,), name="prefect", daemon=True).start()

    def refresh(self) -> None:
        """Read the schedules once; a failure keeps the previous ones."""
        try:
            self._intervals = self._schedules.expected()
        except Exception as error:
            self._failures.record(NAME, error)

    def _run(self, stopped: threading.Event) -> None:
        while True:
            self.refresh()
            if stopped.wait(self._seconds):
                return
