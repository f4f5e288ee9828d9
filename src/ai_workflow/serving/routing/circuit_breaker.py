"""Circuit breaker of a model version: after failures it rejects requests until a probe succeeds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import IntEnum

_WINDOW_CALLS = 20
_MIN_CALLS = 5
_FAILURE_RATE = 0.5


class BreakerState(IntEnum):
    """States of a circuit breaker; the values are those of the metric `model_breaker_state`."""

    CLOSED = 0
    OPEN = 1
    HALF_OPEN = 2


class CircuitBreaker:
    """A circuit breaker for one event loop; opens when half of the recent calls, at least five, failed.

    An admitted call gets a token, the generation of the breaker, and returns it with its outcome. Outcomes of an
    earlier generation are ignored. A call without an outcome is not recorded, such as one whose client disconnected.

    Args:
        on_change: called with each new state.
    """

    def __init__(self, on_change: Callable[[BreakerState], None] = lambda _: None) -> None:
        self.state = BreakerState.CLOSED
        self._generation = 0
        self._on_change = on_change
        self._outcomes: deque[bool] = deque(maxlen=_WINDOW_CALLS)

    def admit(self) -> int | None:
        """Return a token, or None if the call is rejected."""
        return self._generation if self.state is BreakerState.CLOSED else None

    def probe(self) -> int | None:
        """Return the token of the call that decides whether an open breaker closes; None during another probe."""
        if self.state is not BreakerState.OPEN:
            return None
        self._set_state(BreakerState.HALF_OPEN)
        return self._generation

    def record(self, token: int, is_success: bool) -> None:
        """Record the outcome of a call."""
        if token != self._generation:
            return
        if self.state is BreakerState.HALF_OPEN:
            self._set_state(BreakerState.CLOSED if is_success else BreakerState.OPEN)
            return
        self._outcomes.append(is_success)
        if is_success or len(self._outcomes) < _MIN_CALLS:
            return
        if self._outcomes.count(False) >= _FAILURE_RATE * len(self._outcomes):
            self._set_state(BreakerState.OPEN)

    def open(self) -> None:
        """Reject calls until a probe has succeeded."""
        if self.state is BreakerState.CLOSED:
            self._set_state(BreakerState.OPEN)

    def _set_state(self, state: BreakerState) -> None:
        self.state = state
        self._generation += 1
        self._outcomes.clear()
        self._on_change(state)
