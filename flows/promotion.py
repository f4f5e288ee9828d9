"""The promotion flow: a new version becomes stable after its probation, or is rolled back after a breach."""

from __future__ import annotations

import asyncio

from ai_workflow.orchestration.flow_definition import maintenance_flow
from ai_workflow.orchestration.flow_result import FlowResult
from ai_workflow.orchestration.maintenance import promotion as probation
from ai_workflow.orchestration.maintenance.maintenance_run import MaintenanceRun


@maintenance_flow(override='{"promotion.hours": 1}')
async def promotion(run: MaintenanceRun, breach: str = "", model_version: str = "") -> FlowResult:
    """Promote `latest` if its probation is over, or roll it back; idempotent, also if two runs overlap.

    Args:
        run: settings and parameters of the run.
        breach: reason to roll back `latest` at once, such as the text of an alert.
        model_version: version that the breach names; no other version is rolled back. Empty: `latest`.
    """
    recorded = "" if breach else await probation.recorded_breach(run.settings)
    return await asyncio.to_thread(probation.decide, run.settings, breach, recorded, model_version)
