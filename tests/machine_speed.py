"""Speed of this machine at the moment, for limits of CPU time: other work halves it where cores are shared."""

from __future__ import annotations

import time

_ADDITIONS = 300_000
# CPU seconds of an addition on an ordinary machine with nothing beside.
_REFERENCE_SECONDS = 4.0e-8


def slowness() -> float:
    """Return how many times longer than on an ordinary machine a computation takes, at least 1."""
    began, total = time.thread_time(), 0
    for number in range(_ADDITIONS):
        total += number
    return max(1.0, (time.thread_time() - began) / _ADDITIONS / _REFERENCE_SECONDS)
