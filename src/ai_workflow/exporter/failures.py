"""Counts what could not be read, by source, and says it in the log: once, however often it is looked at."""

from __future__ import annotations

from collections import Counter

from ai_workflow.exporter.samples import Sample
from ai_workflow.telemetry.logs import logger

NAME = "exporter_source_failures_total"
_MOST_TOLD = 1000
log = logger("exporter")


class Failures:
    """What failed since the start; every source is shown from then on."""

    def __init__(self, sources: tuple[str, ...]) -> None:
        self._counts = Counter(dict.fromkeys(sources, 0))
        self._told: set[tuple[str, str]] = set()

    def note(self, source: str, error: Exception) -> None:
        """Count something that could not be read."""
        self._counts[source] += 1
        problem = str(error) or type(error).__name__
        if (source, problem) in self._told:
            return
        if len(self._told) >= _MOST_TOLD:
            self._told.clear()
        self._told.add((source, problem))
        log.warning("%s: %s; everything else is shown all the same", source, problem)

    def samples(self) -> list[Sample]:
        """Return the counts."""
        return [Sample(NAME, (source,), count) for source, count in self._counts.items()]
