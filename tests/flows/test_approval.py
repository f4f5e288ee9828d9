"""The states of a flow run tell which question was answered, and whether the answer still holds."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import AwaitingRetry, Cancelled, Completed, Crashed, Failed, Paused, Running, Scheduled, Suspended

from ai_workflow.errors import AiWorkflowError
from ai_workflow.orchestration.maintenance.approval import can_suspend, check, is_overdue, is_suspended, last_suspension
from ai_workflow.telemetry import logs

BEGIN = datetime(2026, 11, 2, 9, tzinfo=UTC)


def _suspended(key: str = "first") -> State[Any]:
    return Suspended(pause_key=key)


def _resuming() -> State[Any]:
    return Scheduled(name="Resuming")


def _history(*states: State[Any], hours: float = 1) -> list[State[Any]]:
    """Return states an hour apart, the newest first."""
    for number, state in enumerate(states):
        state.timestamp = BEGIN + timedelta(hours=hours * number)
    return list(reversed(states))


@pytest.mark.parametrize(
    ("later", "is_answered"),
    [
        ([], False),
        ([_resuming], True),
        ([_resuming, Running], True),
        # Set by hand, without an answer.
        ([Running], False),
        ([Scheduled], False),
        ([Crashed, AwaitingRetry, Running], False),
        ([_resuming, Running, Crashed, AwaitingRetry, Running], True),
        ([_resuming, Running, Failed, AwaitingRetry, Running], True),
        ([_resuming, Running, Cancelled, AwaitingRetry, Running], False),
        ([_resuming, Running, Completed, AwaitingRetry, Running], False),
        ([_resuming, Running, Completed, AwaitingRetry, Running, Crashed, AwaitingRetry, Running], False),
        ([_resuming, Running, _suspended], False),
    ],
)
def test_approval_is_valid_until_run_completes_or_is_cancelled(
    later: list[Callable[[], State[Any]]], is_answered: bool
) -> None:
    found = last_suspension(_history(Running(), _suspended(), *[state() for state in later]))
    assert found
    assert found.is_answered is is_answered


def test_paused_run_is_not_suspended() -> None:
    assert last_suspension(_history(Running(), Paused(pause_key="first"), Running())) is None
    assert last_suspension([]) is None


def test_latest_suspension_is_used() -> None:
    found = last_suspension(_history(Running(), _suspended("first"), _resuming(), Running(), _suspended("second")))
    assert found
    assert (found.key, found.resumed) == ("second", None)


def test_approval_after_timeout_is_late() -> None:
    found = last_suspension(_history(Running(), _suspended(), _resuming(), hours=5))
    assert found
    assert not found.is_late(5)
    assert found.is_late(4.9)


def _run(state: State[Any] | None = None, **fields: Any) -> FlowRun:
    return FlowRun(flow_id=uuid4(), state=state, **fields)


def test_only_worker_deployed_runs_can_be_suspended() -> None:
    deployed = {"deployment_id": uuid4(), "work_pool_name": "pool"}
    assert can_suspend(_run(**deployed))
    assert not can_suspend(_run())
    assert not can_suspend(_run(deployment_id=uuid4()))
    assert not can_suspend(_run(**deployed, parent_task_run_id=uuid4()))


@pytest.mark.parametrize(
    ("parameters", "hours"),
    [
        ({}, 72),
        ({"wait_hours": 0.5}, 0.5),
        ({"wait_hours": 0}, 0),
        ({"wait_hours": "x"}, 72),
        ({"wait_hours": "nan"}, 72),
        ({"wait_hours": 1e300}, 72),
        ({"wait_hours": None}, 72),
        ({"wait_hours": -1}, 72),
    ],
)
def test_suspended_run_is_overdue_after_timeout(parameters: dict[str, Any], hours: float) -> None:
    [state] = _history(_suspended())
    run = _run(state, parameters=parameters)
    assert not is_overdue(run, BEGIN + timedelta(hours=hours))
    assert is_overdue(run, BEGIN + timedelta(hours=hours, seconds=1))


@pytest.mark.parametrize("hours", [-1.0, float("nan"), float("inf"), 8761.0])
def test_invalid_wait_hours_are_rejected(hours: float) -> None:
    with pytest.raises(AiWorkflowError, match="Give a number from 0 to 8760"):
        check(hours)
    check(0)
    check(8760)


def test_run_with_process_is_never_overdue() -> None:
    for state in (None, *_history(Running(), Paused(pause_key="first"), _resuming())):
        run = _run(state)
        assert not is_suspended(run)
        assert not is_overdue(run, BEGIN + timedelta(days=99))


@pytest.mark.parametrize(
    ("message", "level"),
    [
        ("Finished in state Suspended()", logging.INFO),
        ("Finished in state Failed('Suspended()')", logging.ERROR),
        ("Finished in state Paused()", logging.ERROR),
    ],
)
def test_suspension_log_line_is_not_error_level(message: str, level: int) -> None:
    record = logging.LogRecord("prefect.flow_runs", logging.ERROR, "", 0, message, (), None)
    assert logs.SuspendedFilter().filter(record)
    assert (record.levelno, record.levelname) == (level, logging.getLevelName(level))
