"""The retention flow: shows a plan, and deletes old versions and files after a person has approved it."""

from __future__ import annotations

from ai_workflow.orchestration.flow_definition import maintenance_flow
from ai_workflow.orchestration.flow_parameters import WaitHours
from ai_workflow.orchestration.flow_result import FlowResult
from ai_workflow.orchestration.maintenance import approval
from ai_workflow.orchestration.maintenance.maintenance_run import MaintenanceRun
from ai_workflow.orchestration.maintenance.retention import RetentionRun


@maintenance_flow(override='{"retention.versions": 5}')
async def retention(run: MaintenanceRun, wait_hours: WaitHours = approval.WAIT_HOURS) -> FlowResult:
    """Delete old versions and files that are not in use, after a person has approved the plan.

    Args:
        run: settings and parameters of the run.
        wait_hours: hours to wait for an answer, at most a year; nothing is deleted without an answer.
    """
    async with RetentionRun.claimed(run.settings, wait_hours) as current:
        # A suspended run starts again from its beginning once a person has answered.
        return await current.resume() or await current.propose()
