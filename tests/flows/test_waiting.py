"""The plan of a run is removed once the run is over, and not before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Cancelled, Completed, Crashed, Failed, Running, Scheduled, Suspended

from ai_workflow.orchestration.maintenance.pending_approvals import _is_over
from ai_workflow.registry.retention_plan import RetentionPlan

NOW = datetime(2026, 11, 2, 9, tzinfo=UTC)
IN_TIME, LATE = (
    RetentionPlan("models", "key", NOW + timedelta(hours=1)),
    RetentionPlan("models", "key", NOW - timedelta(hours=1)),
)


@pytest.mark.parametrize("state", [Suspended(), Running(), Scheduled(name="Resuming"), Scheduled()])
def test_plan_of_unfinished_run_is_kept(state: State[Any]) -> None:
    for plan in (IN_TIME, LATE, None):
        assert not _is_over(plan, FlowRun(flow_id=uuid4(), state=state), NOW)


@pytest.mark.parametrize("state", [Completed(), Failed(), Cancelled()])
def test_plan_of_finished_run_is_removed_even_if_damaged(state: State[Any]) -> None:
    for plan in (IN_TIME, LATE, None):
        assert _is_over(plan, FlowRun(flow_id=uuid4(), state=state), NOW)


@pytest.mark.parametrize("run", [None, FlowRun(flow_id=uuid4(), state=Crashed())], ids=["unknown", "crashed"])
def test_plan_of_crashed_or_unknown_run_is_kept_until_timeout(run: FlowRun | None) -> None:
    assert not _is_over(IN_TIME, run, NOW)
    assert _is_over(LATE, run, NOW)
