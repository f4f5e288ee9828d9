"""Looks at every source again and again, and keeps what each said last; one that fails hides nothing of the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Protocol

from ai_workflow.exporter.failures import Failures
from ai_workflow.exporter.samples import Sample


class Source(Protocol):
    """Something that metrics are read off."""

    name: str

    def look(self) -> list[Sample]:
        """Return what it says now."""


class Collecting:
    """Keeps the samples of all sources.

    Args:
        sources: in the order in which they are looked at; a later one may ask an earlier one.
        failures: where failures are counted.
        seconds: between two looks.
    """

    def __init__(self, sources: Sequence[Source], failures: Failures, seconds: float) -> None:
        self._sources, self._failures, self._seconds = sources, failures, seconds
        self._samples: dict[str, list[Sample]] = {}
        self._health: list[Sample] = []

    def samples(self) -> list[Sample]:
        """Return what was found at the last look; before the first one, only the exporter's own health."""
        found = [sample for source in self._sources for sample in self._samples.get(source.name, ())]
        return [*found, *self._health, *self._failures.samples()]

    def look(self) -> None:
        """Look at every source once."""
        began = time.perf_counter()
        for source in self._sources:
            try:
                self._samples[source.name] = source.look()
            except Exception as error:
                self._failures.note(source.name, error)
        self._health = [
            Sample("exporter_last_collect_timestamp_seconds", (), time.time()),
            Sample("exporter_collect_seconds", (), time.perf_counter() - began),
        ]

    def keep(self, ended: threading.Event) -> None:
        """Look again and again until `ended`."""
        while True:
            self.look()
            if ended.wait(self._seconds):
                return
