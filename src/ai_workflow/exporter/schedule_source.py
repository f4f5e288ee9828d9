"""What a Prefect server says of schedules, asked now and then in a thread of its own: it may be slow, or gone."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Protocol

from ai_workflow.exporter.failures import Failures

NAME = "prefect"
SECONDS = 60.0


class Schedules(Protocol):
    """Who knows of schedules."""

    def expected(self) -> Mapping[tuple[str, str], float]:
        """Return for each pipeline and flow with a schedule the seconds within which it is to run."""


class ScheduleSource:
    """Keeps what was said last.

    Args:
        schedules: who is asked.
        failures: where it is counted that nobody answered.
        seconds: between two questions.
    """

    def __init__(self, schedules: Schedules, failures: Failures, seconds: float = SECONDS) -> None:
        self._schedules, self._failures, self._seconds = schedules, failures, seconds
        self._known: Mapping[tuple[str, str], float] = {}

    def known(self) -> Mapping[tuple[str, str], float]:
        """Return what was said last."""
        return self._known

    def start(self, ended: threading.Event) -> None:
        """Ask again and again until `ended`."""
        threading.Thread(target=self._keep, args=(ended,), name="prefect", daemon=True).start()

    def ask(self) -> None:
        """Ask once."""
        try:
            self._known = self._schedules.expected()
        except Exception as error:
            self._failures.note(NAME, error)

    def _keep(self, ended: threading.Event) -> None:
        while True:
            self.ask()
            if ended.wait(self._seconds):
                return
