"""Periodic collection from all sources.

A source that fails keeps its last samples and does not affect the others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Protocol

from ai_workflow.exporter.failures import Failures
from ai_workflow.exporter.samples import Sample


class Source(Protocol):
    """A source of metrics."""

    name: str

    def collect(self) -> list[Sample]:
        """Return the current samples."""


class Collector:
    """Latest samples of all sources.

    Args:
        sources: sources in the order of collection; a later source may use the results of an earlier one.
        failures: counter of failures.
        seconds: interval between two collections.
    """

    def __init__(self, sources: Sequence[Source], failures: Failures, seconds: float) -> None:
        self._sources, self._failures, self._seconds = sources, failures, seconds
        self._samples: dict[str, list[Sample]] = {}
        self._health: list[Sample] = []

    def samples(self) -> list[Sample]:
        """Return the samples of the last collection and the health of the exporter."""
        collected = [sample for source in self._sources for sample in self._samples.get(source.name, ())]
        return [*collected, *self._health, *self._failures.samples()]

    def collect(self) -> None:
        """Collect from every source once."""
        started = time.perf_counter()
        for source in self._sources:
            try:
                self._samples[source.name] = source.collect()
            except Exception as error:
                self._failures.record(source.name, error)
        self._health = [
            Sample("exporter_last_collect_timestamp_seconds", (), time.time()),
            Sample("exporter_collect_seconds", (), time.perf_counter() - started),
        ]

    def run(self, stopped: threading.Event) -> None:
        """Collect periodically until `stopped` is set."""
        while True:
            self.collect()
            if stopped.wait(self._seconds):
                return
