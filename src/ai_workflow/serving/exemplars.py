"""Trace IDs of recent failed requests by kind of failure, so that an alert can name one."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ai_workflow.telemetry import metrics

# A request replaces an exemplar of this age, or one that was this many times faster.
_KEEP_SECONDS, _SLOWER_FACTOR = 60.0, 2.0
# Longer, because each replaced exemplar is a new series, and a version can have many columns.
_COLUMN_KEEP_SECONDS = 600.0
_NAME = "inference_example_info"


@dataclass(frozen=True, slots=True)
class _Exemplar:
    trace_id: str
    keep_until: float
    seconds: float


class Exemplars:
    """One exemplar for each version, kind of failure and column, as long as the version serves.

    Exemplars do not expire: an alert that fires long after the last request still finds one.

    Args:
        pipeline: the pipeline of the requests.
    """

    def __init__(self, pipeline: str) -> None:
        self._pipeline = pipeline
        self._current: dict[tuple[str, str, str], _Exemplar] = {}

    def record(self, version: str, kind: str, trace_id: str, seconds: float = 0.0, column: str = "") -> None:
        """Make a request the exemplar, unless the current exemplar is recent.

        Args:
            version: the version that failed; empty for the pipeline as a whole.
            kind: the kind of failure.
            trace_id: the trace of the request.
            seconds: the duration of the request if it was slow.
            column: the column concerned; empty if the failure is not about a column.
        """
        key, now = (version, kind, column), time.monotonic()
        current = self._current.get(key)
        if current is not None:
            if now < current.keep_until and seconds <= _SLOWER_FACTOR * current.seconds:
                return
            metrics.remove_labels(_NAME, self._pipeline, *key, current.trace_id)
        keep_seconds = _COLUMN_KEEP_SECONDS if column else _KEEP_SECONDS
        self._current[key] = _Exemplar(trace_id, now + keep_seconds, seconds)
        metrics.get(_NAME).labels(self._pipeline, *key, trace_id).set(1)

    def forget(self, version: str) -> None:
        """Remove the exemplars of a version."""
        for key in [key for key in self._current if key[0] == version]:
            metrics.remove_labels(_NAME, self._pipeline, *key, self._current.pop(key).trace_id)
