"""A version that fails is left alone, one probe decides, and nothing that came late or was given up has a say."""

from __future__ import annotations

import pytest

from ai_workflow.serving.routing.circuit_breaker import BreakerState, CircuitBreaker


def opened() -> CircuitBreaker:
    breaker = CircuitBreaker()
    for _ in range(5):
        breaker.record(token(breaker), False)
    return breaker


def token(breaker: CircuitBreaker) -> int:
    found = breaker.admit()
    assert found is not None
    return found


def test_breaker_opens_at_half_failures_of_at_least_five() -> None:
    breaker = CircuitBreaker()
    for ok in (True, False, True, False):
        breaker.record(token(breaker), ok)
    assert breaker.state is BreakerState.CLOSED
    breaker.record(token(breaker), False)
    assert breaker.state is BreakerState.OPEN
    assert breaker.admit() is None


def test_breaker_counts_only_last_twenty_outcomes() -> None:
    breaker = CircuitBreaker()
    for _ in range(100):
        breaker.record(token(breaker), True)
    for _ in range(9):
        breaker.record(token(breaker), False)
    assert breaker.state is BreakerState.CLOSED
    breaker.record(token(breaker), False)
    assert breaker.state is BreakerState.OPEN


def test_half_open_breaker_admits_single_probe() -> None:
    breaker = opened()
    assert breaker.probe() is not None
    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.probe() is None
    assert breaker.admit() is None


@pytest.mark.parametrize(("ok", "after"), [(True, BreakerState.CLOSED), (False, BreakerState.OPEN)])
def test_probe_outcome_sets_breaker_state(ok: bool, after: BreakerState) -> None:
    breaker = opened()
    probe = breaker.probe()
    assert probe is not None
    breaker.record(probe, ok)
    assert breaker.state is after


def test_stale_outcomes_do_not_change_breaker_state() -> None:
    breaker = CircuitBreaker()
    old = token(breaker)
    for _ in range(5):
        breaker.record(token(breaker), False)
    probe = breaker.probe()
    breaker.record(old, True)
    assert breaker.state is BreakerState.HALF_OPEN, "a late success does not close it"
    assert probe is not None
    breaker.record(probe, True)
    for _ in range(5):
        breaker.record(old, False)
        breaker.record(probe, False)
    assert breaker.state is BreakerState.CLOSED, "late failures do not open it"


def test_breaker_reports_each_state_change_once() -> None:
    told: list[BreakerState] = []
    breaker = CircuitBreaker(told.append)
    for _ in range(7):
        breaker.record(0, False)
    breaker.open()
    assert told == [BreakerState.OPEN]
