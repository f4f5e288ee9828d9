"""Retention runs that wait for an answer: one at a time for each registry, and each ends after its `wait_hours`."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound

from ai_workflow.errors import StoreError
from ai_workflow.orchestration.maintenance import approval
from ai_workflow.orchestration.recovery.run_lookup import RunLookup, RunRecord
from ai_workflow.registry import retention_plan
from ai_workflow.registry.retention_plan import RetentionPlan
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import journal, logs

log = logs.logger("retention")


async def other(store: Store, models: str, own_id: str) -> FlowRun | None:
    """Return another retention run of the same models that is not over, if any.

    Runs that were not answered in time are ended, and the plans of runs that are over are removed.
    """
    now = datetime.now(UTC)
    async with get_client() as client:
        for run_id in retention_plan.run_ids(store):
            if run_id == own_id:
                continue
            plan, run = _plan(store, run_id), await _run(client, run_id)
            if run is not None and approval.is_overdue(run, now) and (message := await approval.end(client, run)):
                log.info("%s: %s", run.name, message)
                retention_plan.forget(store, run_id)
            elif _is_over(plan, run, now):
                retention_plan.forget(store, run_id)
            elif plan is not None and plan.models == models and run is not None and not _has_ended(run):
                return run
    return None


async def end_overdue(runs: RunLookup) -> None:
    """End the suspended retention runs that were not answered in time."""

    async def end(record: RunRecord) -> None:
        if not approval.is_overdue(record.run, datetime.now(UTC)) or not await runs.is_unchanged(record):
            return
        if message := await approval.end(runs.client, record.run):
            retention_plan.forget(record.store, record.id)
            runs.note(record, journal.SKIPPED, message)

    await runs.for_each(await runs.suspended(), end)


def _has_ended(run: FlowRun) -> bool:
    return run.state is None or run.state.is_final()


def _is_over(plan: RetentionPlan | None, run: FlowRun | None, now: datetime) -> bool:
    """Return whether the plan of a run is not needed any more.

    A crashed run may be rescheduled and carry out its answer, and an unknown run may be one of another Prefect server:
    their plans are kept until the time to answer is over.
    """
    if run is not None and not _has_ended(run):
        return False
    if run is None or (run.state is not None and run.state.is_crashed()):
        return plan is not None and plan.until < now
    return True


def _plan(store: Store, run_id: str) -> RetentionPlan | None:
    """Return the plan of a run, or None with a warning if it is damaged: that run fails once it is answered."""
    try:
        return retention_plan.read(store, run_id)
    except StoreError as error:
        log.warning("%s. Cancel the flow run %s, and remove the file", error, run_id)
        return None


async def _run(client: PrefectClient, run_id: str) -> FlowRun | None:
    try:
        return await client.read_flow_run(UUID(run_id))
    except (ObjectNotFound, ValueError):
        return None
