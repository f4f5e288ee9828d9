"""The reaction flow: starts a rollback or a training after a breach of an SLO, a few times a day at most."""

from __future__ import annotations

from ai_workflow.orchestration.flow_definition import maintenance_flow
from ai_workflow.orchestration.flow_result import FlowResult
from ai_workflow.orchestration.maintenance import reaction as breaches
from ai_workflow.orchestration.maintenance.maintenance_run import MaintenanceRun
from ai_workflow.orchestration.maintenance.reaction import Breach
from ai_workflow.telemetry import logs

log = logs.logger("reaction")


@maintenance_flow(override='{"reactions.training_per_day": 1}')
async def reaction(
    run: MaintenanceRun,
    event_id: str,
    slo: str,
    pipeline: str = "",
    model_version: str = "",
    summary: str = "",
    training: str = "",
    promotion: str = "",
) -> FlowResult:
    """Roll back the version on probation if the breach names it, else train if accuracy is breached.

    Args:
        run: settings and parameters of the run.
        event_id: ID of the event; an event starts at most one run.
        slo: name of the breached SLO.
        pipeline: pipeline of the breach: that of the run, or one in `pipelines/`. Empty: that of the run.
        model_version: version that the breach names.
        summary: description of the breach.
        training: the deployment that trains a new version, as flow/deployment. Empty: that of the pipeline.
        promotion: the deployment that rolls back. Empty: that of the pipeline.
    """
    breach = Breach(event_id, slo, pipeline, model_version, summary)
    if breach.pipeline not in ("", run.settings.pipeline):
        of_pipeline = run.of_pipeline(breach.pipeline)
        if of_pipeline is None:
            return breaches.unhandled(run.settings, breach)
        run = of_pipeline
    action, reason = breaches.decide(run.settings, breach)
    if action is None:
        log.info("no action for the breach: %s", reason)
        return FlowResult(reason, {"what": None})
    deployment = training if action == "training" else promotion
    return await breaches.start(run, breach, action, deployment or run.deployment(action))
