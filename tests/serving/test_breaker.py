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


def test_it_opens_when_half_of_the_last_outcomes_are_failures_and_five_are_known() -> None:
    breaker = CircuitBreaker()
    for ok in (True, False, True, False):
        breaker.record(token(breaker), ok)
    assert breaker.state is BreakerState.CLOSED
    breaker.record(token(breaker), False)
    assert breaker.state is BreakerState.OPEN
    assert breaker.admit() is None


def test_only_the_last_twenty_outcomes_count() -> None:
    breaker = CircuitBreaker()
    for _ in range(100):
        breaker.record(token(breaker), True)
    for _ in range(9):
        breaker.record(token(breaker), False)
    assert breaker.state is BreakerState.CLOSED
    breaker.record(token(breaker), False)
    assert breaker.state is BreakerState.OPEN


def test_one_probe_at_a_time_and_nobody_else_while_it_is_half_open() -> None:
    breaker = opened()
    assert breaker.probe() is not None
    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.probe() is None
    assert breaker.admit() is None


@pytest.mark.parametrize(("ok", "after"), [(True, BreakerState.CLOSED), (False, BreakerState.OPEN)])
def test_the_probe_decides(ok: bool, after: BreakerState) -> None:
    breaker = opened()
    probe = breaker.probe()
    assert probe is not None
    breaker.record(probe, ok)
    assert breaker.state is after


def test_an_outcome_of_an_earlier_generation_neither_opens_nor_closes() -> None:
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


def test_each_new_state_is_told_once() -> None:
    told: list[BreakerState] = []
    breaker = CircuitBreaker(told.append)
    for _ in range(7):
        breaker.record(0, False)
    breaker.open()
    assert told == [BreakerState.OPEN]
