"""Shows the trace of a recent request for each kind of failure, so that an alert can name one."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ai_workflow import metrics

# A newer example takes the place of one that has stood for so long, or of one that was so many times faster.
_STANDS_SECONDS, _SLOWER = 60.0, 2.0
_NAME = "inference_example_info"


@dataclass(frozen=True, slots=True)
class _Example:
    trace_id: str
    until: float
    seconds: float


class Examples:
    """Keeps one example for each version and kind of failure, as long as the version serves.

    No example expires: an alert that fires long after the last request still finds one.

    Args:
        pipeline: whose requests they are.
    """

    def __init__(self, pipeline: str) -> None:
        self._pipeline = pipeline
        self._shown: dict[tuple[str, str], _Example] = {}

    def note(self, version: str, kind: str, trace_id: str, seconds: float = 0.0) -> None:
        """Take a request as an example, unless there is a recent one.

        Args:
            version: the version at fault; empty: none is.
            kind: what went wrong.
            trace_id: of the request.
            seconds: how long it took, where that is what went wrong.
        """
        key, now = (version, kind), time.monotonic()
        shown = self._shown.get(key)
        if shown is not None:
            if now < shown.until and seconds <= _SLOWER * shown.seconds:
                return
            metrics.forget(_NAME, self._pipeline, *key, shown.trace_id)
        self._shown[key] = _Example(trace_id, now + _STANDS_SECONDS, seconds)
        metrics.get(_NAME).labels(self._pipeline, *key, trace_id).set(1)

    def forget(self, version: str) -> None:
        """Remove the examples of a version."""
        for key in [key for key in self._shown if key[0] == version]:
            metrics.forget(_NAME, self._pipeline, *key, self._shown.pop(key).trace_id)
