"""Contributions of the features by one model version: a fault of them is no failure of the version."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

from ai_workflow.serving.attempt_metrics import FailureReason
from ai_workflow.serving.routing.job_queue import PendingResult
from ai_workflow.serving.routing.loaded_model import LoadedModel
from ai_workflow.telemetry.logs import logger

# A version whose contributions crash, hang or are slow has no contributions for this long, because they delay others.
SUSPENDED_SECONDS = 60.0
# Limit of the contributions of one row, of all outputs, because they are checked on the event loop.
MAX_CONTRIBUTIONS = 200_000
# Time limit of the contributions of one row, as a share of that of an attempt: predictions wait meanwhile.
_ROW_SHARE = 0.5
log = logger("serving")


class Explanations:
    """Whether and when a version computes contributions.

    Args:
        loaded: the version.
        attempt_timeout: time limit of an attempt in seconds.
    """

    def __init__(self, loaded: LoadedModel, attempt_timeout: float) -> None:
        self._loaded, self._row_seconds = loaded, _ROW_SHARE * attempt_timeout
        self._loop = asyncio.get_running_loop()
        self._suspended_until = -math.inf
        self._has_function = False
        self._width = len(loaded.encoder.spec["features"]) + 1

    @property
    def is_supported(self) -> bool:
        """Whether the version has contributions, and not too many for a reply."""
        return self._has_function and self._loaded.output_count * self._width <= MAX_CONTRIBUTIONS

    @property
    def is_suspended(self) -> bool:
        """Whether a recent fault of contributions suspends them."""
        return self._loop.time() < self._suspended_until

    def on_start(self, *, has_function: bool) -> None:
        """Record whether the process of the model, which has just started, has contributions."""
        self._has_function = has_function

    def row_deadline(self, deadline: float) -> float:
        """Return the deadline of one row of a request with a deadline, in the time of the event loop."""
        return min(deadline, self._loop.time() + self._row_seconds)

    async def result(self, pending: PendingResult) -> Sequence[float] | FailureReason:
        """Return the contributions of a row, (outputs x (features + 1)), or the reason why there are none."""
        limit = self._loop.time() + self._row_seconds
        values = await pending
        if not isinstance(values, FailureReason):
            if len(values) != self._loaded.output_count * self._width or not math.isfinite(sum(values)):
                return FailureReason.BAD_OUTPUT
            return values
        is_slow = values is FailureReason.TIMEOUT and self._loop.time() >= limit
        if is_slow or values in (FailureReason.CRASHED, FailureReason.HUNG):
            self._suspended_until = self._loop.time() + SUSPENDED_SECONDS
            log.warning(
                "%s: its contributions are suspended for %g s: %s", self._loaded.name, SUSPENDED_SECONDS, values
            )
        return values
