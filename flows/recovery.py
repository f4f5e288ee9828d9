"""The recovery flow: marks runs whose process has died, and reschedules those of deployments."""

from __future__ import annotations

from prefect.artifacts import acreate_table_artifact
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from ai_workflow.orchestration.flow_definition import maintenance_flow
from ai_workflow.orchestration.flow_result import FlowResult
from ai_workflow.orchestration.maintenance import pending_approvals
from ai_workflow.orchestration.maintenance.maintenance_run import MaintenanceRun
from ai_workflow.orchestration.recovery import dead_runs, orphan_tasks, reschedule
from ai_workflow.orchestration.recovery.run_lookup import RunLookup
from ai_workflow.telemetry import logs

log = logs.logger("recovery")


@maintenance_flow(override='{"recovery.max_attempts": 1}')
async def recovery(run: MaintenanceRun) -> FlowResult:
    """Recover every run whose process has died; safe to run at any time, and again.

    Args:
        run: settings and parameters of the run.
        config: pipeline file, for its settings; the one that a run was started with is the run's own.
        environment: which `config/<environment>.yaml` applies, also to runs that were started with none.
    """
    async with get_client() as client:
        runs = RunLookup(client, run.settings, run.request.environment, str(flow_run.id))
        with runs.exclusive() as is_exclusive:
            if not is_exclusive:
                log.info("another recovery is at work")
                return FlowResult("another recovery is at work", is_idle=True)
            await dead_runs.mark(runs)
            await reschedule.reschedule(runs)
            await orphan_tasks.mark(runs)
            await pending_approvals.end_overdue(runs)
    if not runs.actions:
        return FlowResult("no run needed recovery", is_idle=True)
    await acreate_table_artifact(
        [dict(action) for action in runs.actions], key="recovery", description="Runs whose process was gone"
    )
    return FlowResult(f"{len(runs.actions)} things done")
