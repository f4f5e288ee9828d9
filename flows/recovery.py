"""The recovery flow: marks runs whose process has died, and reschedules those of deployments."""

from __future__ import annotations

from prefect.artifacts import acreate_table_artifact
from prefect.client.orchestration import get_client
from prefect.runtime import deployment, flow_run

from ai_workflow.orchestration import owner_label
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
    """Recover every run whose process has died; idempotent.

    Args:
        run: settings and parameters of the run.
        config: pipeline file with the settings of recovery; each run keeps its own pipeline file.
        environment: name of `config/<environment>.yaml`, also for runs that were started without one.
    """
    async with get_client() as client:
        label = owner_label.current() if deployment.id else None
        runs = RunLookup(client, run.settings, run.request.environment, str(flow_run.id), label)
        with runs.exclusive() as is_exclusive:
            if not is_exclusive:
                log.info("another recovery is running")
                return FlowResult("another recovery is running", is_idle=True)
            await dead_runs.mark(runs)
            await reschedule.reschedule(runs)
            await orphan_tasks.mark(runs)
            await pending_approvals.end_overdue(runs)
    if not runs.actions:
        return FlowResult("no run needed recovery", is_idle=True)
    await acreate_table_artifact(
        [dict(action) for action in runs.actions], key="recovery", description="Runs whose process had died"
    )
    return FlowResult(f"{len(runs.actions)} actions taken")
