"""Shows the trace of a request of late for each kind of trouble, so that an alert can name one."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ai_workflow import metrics

# An example stands for so long, or until there is one so many times as slow: each is a series of its own.
_STANDS_SECONDS, _SLOWER = 60.0, 2.0
_NAME = "inference_example_info"


@dataclass(frozen=True, slots=True)
class _Example:
    trace_id: str
    until: float
    seconds: float


class Examples:
    """Keeps one example for each version and kind of trouble."""

    def __init__(self) -> None:
        self._shown: dict[tuple[str, str], _Example] = {}

    def note(self, version: str, kind: str, trace_id: str, seconds: float = 0.0) -> None:
        """Take a request as an example, unless there is one that still stands; `seconds` is how long it took."""
        key, now = (version, kind), time.monotonic()
        shown = self._shown.get(key)
        if shown is not None:
            if now < shown.until and seconds <= _SLOWER * shown.seconds:
                return
            metrics.forget(_NAME, *key, shown.trace_id)
        self._shown[key] = _Example(trace_id, now + _STANDS_SECONDS, seconds)
        metrics.get(_NAME).labels(*key, trace_id).set(1)

    def forget(self, version: str) -> None:
        """Remove the examples of a version."""
        for key in [key for key in self._shown if key[0] == version]:
            metrics.forget(_NAME, *key, self._shown.pop(key).trace_id)
