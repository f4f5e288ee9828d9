"""Shows the trace of a recent request for each kind of failure, so that an alert can name one."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ai_workflow.telemetry import metrics

# A newer example replaces one of this age, or one that was this many times faster.
_STANDS_SECONDS, _SLOWER = 60.0, 2.0
# Each replaced example is a new series, and a version can have many columns.
_COLUMN_STANDS_SECONDS = 600.0
_NAME = "inference_example_info"


@dataclass(frozen=True, slots=True)
class _Example:
    trace_id: str
    until: float
    seconds: float


class Exemplars:
    """Keeps one example for each version, kind of failure and column, as long as the version serves.

    No example expires: an alert that fires long after the last request still finds one.

    Args:
        pipeline: whose requests they are.
    """

    def __init__(self, pipeline: str) -> None:
        self._pipeline = pipeline
        self._shown: dict[tuple[str, str, str], _Example] = {}

    def record(self, version: str, kind: str, trace_id: str, seconds: float = 0.0, column: str = "") -> None:
        """Replace the example by this request, unless the example is recent.

        Args:
            version: the version at fault; empty for the pipeline as a whole.
            kind: the kind of failure.
            trace_id: the trace of the request.
            seconds: the duration of the request if it was slow.
            column: the column at fault; empty if the failure is not about a column.
        """
        key, now = (version, kind, column), time.monotonic()
        shown = self._shown.get(key)
        if shown is not None:
            if now < shown.until and seconds <= _SLOWER * shown.seconds:
                return
            metrics.remove_labels(_NAME, self._pipeline, *key, shown.trace_id)
        stands = _COLUMN_STANDS_SECONDS if column else _STANDS_SECONDS
        self._shown[key] = _Example(trace_id, now + stands, seconds)
        metrics.get(_NAME).labels(self._pipeline, *key, trace_id).set(1)

    def forget(self, version: str) -> None:
        """Remove the exemplars of a version."""
        for key in [key for key in self._shown if key[0] == version]:
            metrics.remove_labels(_NAME, self._pipeline, *key, self._shown.pop(key).trace_id)
