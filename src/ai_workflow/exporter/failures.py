"""Counters of read failures by source; each distinct error is logged once."""

from __future__ import annotations

from collections import Counter

from ai_workflow.exporter.samples import Sample
from ai_workflow.telemetry.logs import logger

NAME = "exporter_source_failures_total"
_MAX_LOGGED = 1000
log = logger("exporter")


class Failures:
    """Number of failures since the start, for every source."""

    def __init__(self, sources: tuple[str, ...]) -> None:
        self._counts = Counter(dict.fromkeys(sources, 0))
        self._logged: set[tuple[str, str]] = set()

    def record(self, source: str, error: Exception) -> None:
        """Count and log a failure."""
        self._counts[source] += 1
        problem = str(error) or type(error).__name__
        if (source, problem) in self._logged:
            return
        if len(self._logged) >= _MAX_LOGGED:
            self._logged.clear()
        self._logged.add((source, problem))
        log.warning("%s: %s. Other metrics are still exported", source, problem)

    def samples(self) -> list[Sample]:
        """Return the counts."""
        return [Sample(NAME, (source,), count) for source, count in self._counts.items()]
