"""Retention runs that wait for an answer: a second one for the same models does not wait too, and each ends in time."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound

from ai_workflow.errors import StoreError
from ai_workflow.orchestration import approval
from ai_workflow.orchestration.recovery.run_lookup import Found, FoundRuns
from ai_workflow.registry import retention_plan
from ai_workflow.registry.retention_plan import Plan
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import journal, logs

log = logs.logger("retention")


async def other(store: Store, models: str, own_id: str) -> FlowRun | None:
    """Return another retention run of the same models that is not over, if any.

    A run that was not answered in time is ended, and the plans of runs that are over are removed.
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


async def end_overdue(runs: FoundRuns) -> None:
    """End the suspended retention runs that were not answered in time."""

    async def end(found: Found) -> None:
        if not approval.is_overdue(found.run, datetime.now(UTC)) or not await runs.unchanged(found):
            return
        if message := await approval.end(runs.client, found.run):
            retention_plan.forget(found.store, found.id)
            runs.note(found, journal.SKIPPED, message)

    await runs.each(await runs.suspended(), end)


def _has_ended(run: FlowRun) -> bool:
    return run.state is None or run.state.is_final()


def _is_over(plan: Plan | None, run: FlowRun | None, now: datetime) -> bool:
    """Return whether the plan of a run is not needed any more.

    A crashed run may be rescheduled and carry out its answer, and a run that is not known here may be one of another
    Prefect server: their plans are kept until the time to answer is over.
    """
    if run is not None and not _has_ended(run):
        return False
    if run is None or (run.state is not None and run.state.is_crashed()):
        return plan is not None and plan.until < now
    return True


def _plan(store: Store, run_id: str) -> Plan | None:
    """Return the plan of a run; a damaged one fails that run once it is answered, and keeps no other from asking."""
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
