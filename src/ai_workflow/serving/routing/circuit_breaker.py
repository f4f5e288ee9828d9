"""A circuit breaker for one event loop: a version that fails is left alone until it has shown that it answers again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import IntEnum

_WINDOW = 20
_FEWEST = 5
_RATE = 0.5


class BreakerState(IntEnum):
    """Whether calls are let through; the numbers are those of the metric `model_breaker_state`."""

    CLOSED = 0
    OPEN = 1
    HALF_OPEN = 2


class CircuitBreaker:
    """Opens when half of the last outcomes, five at least, were failures.

    Whoever is let through gets a token, the generation of the breaker, and hands it back with the outcome: one that
    comes after the breaker has changed counts for nothing, neither to open nor to close it. A call without an outcome
    (its caller went away, the machine stood still) is not recorded, and counts for nothing either.

    Args:
        changed: told of each new state.
    """

    def __init__(self, changed: Callable[[BreakerState], None] = lambda _: None) -> None:
        self.state, self._generation, self._changed = BreakerState.CLOSED, 0, changed
        self._outcomes: deque[bool] = deque(maxlen=_WINDOW)

    def admit(self) -> int | None:
        """Return a token, or None where the call must not be made."""
        return self._generation if self.state is BreakerState.CLOSED else None

    def probe(self) -> int | None:
        """Return the one token that decides whether an open breaker closes; None while another probe is under way."""
        if self.state is not BreakerState.OPEN:
            return None
        self._become(BreakerState.HALF_OPEN)
        return self._generation

    def record(self, token: int, ok: bool) -> None:
        """Take the outcome of a call."""
        if token != self._generation:
            return
        if self.state is BreakerState.HALF_OPEN:
            self._become(BreakerState.CLOSED if ok else BreakerState.OPEN)
            return
        self._outcomes.append(ok)
        if ok or len(self._outcomes) < _FEWEST:
            return
        if self._outcomes.count(False) >= _RATE * len(self._outcomes):
            self._become(BreakerState.OPEN)

    def open(self) -> None:
        """Let nobody through until a probe has succeeded."""
        if self.state is BreakerState.CLOSED:
            self._become(BreakerState.OPEN)

    def _become(self, state: BreakerState) -> None:
        self.state = state
        self._generation += 1
        self._outcomes.clear()
        self._changed(state)
