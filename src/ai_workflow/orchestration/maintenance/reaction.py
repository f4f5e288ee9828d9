"""Reaction to a breach of an SLO: the decision, the run that is started, and the event for the chats.

`reaction_limits.py` holds the daily limit: it counts model versions, not breaches.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from prefect.client.schemas.objects import FlowRun
from prefect.events import emit_event

from ai_workflow.config import project
from ai_workflow.config.settings import Settings
from ai_workflow.orchestration.flow_result import FlowResult
from ai_workflow.orchestration.maintenance import reaction_limits
from ai_workflow.orchestration.maintenance.maintenance_run import MaintenanceRun
from ai_workflow.orchestration.maintenance.reaction_limits import Action
from ai_workflow.registry.promotion import on_probation
from ai_workflow.registry.registry import Registry
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import logs, trace_context

STARTED, WITHHELD = "ai-workflow.reaction.started", "ai-workflow.reaction.withheld"
log = logs.logger("reaction")


@dataclass(frozen=True, slots=True)
class Breach:
    """A breach of an SLO as its event describes it; unknown fields are empty."""

    event_id: str
    slo: str
    pipeline: str
    model_version: str
    summary: str

    @property
    def text(self) -> str:
        """The breach in words."""
        return (
            self.summary or f"{self.slo} of {self.model_version or self.pipeline or 'an unknown version'} is breached"
        )


def decide(settings: Settings, breach: Breach) -> tuple[Action | None, str]:
    """Return the action that a breach needs, None for no action, and the reason."""
    registry = Registry(Store(settings.store.root), settings.models)
    candidate = on_probation(registry)
    if candidate and candidate[0] == breach.model_version:
        return "promotion", f"{breach.model_version} is on probation"
    if breach.slo != "accuracy":
        return None, f"{_not_on_probation(breach, candidate)}, and training does not improve {breach.slo}"
    if breach.model_version and breach.model_version not in registry.aliases().values():
        return None, f"{breach.model_version} is neither latest nor stable any more"
    return "training", "accuracy is breached"


def unhandled(settings: Settings, breach: Breach) -> FlowResult:
    """Report a breach of a pipeline that no deployment reacts to, in the log and as an event for the chats."""
    text = (
        f"nothing was started for the breach of the pipeline {breach.pipeline}: the deployment that reacts to breaches "
        f"is of the pipeline {settings.pipeline}. Start a training of {breach.pipeline} by hand, or deploy it to a "
        "Prefect server of its own"
    )
    log.warning("%s; the breach: %s", text, breach.text)
    _emit(settings, WITHHELD, f"reaction to {breach.pipeline}", f"reaction.{breach.pipeline}", text, breach)
    return _result(text, None, None)


async def start(run: MaintenanceRun, breach: Breach, action: Action, deployment: str) -> FlowResult:
    """Start a run for a breach unless one handles it already, and emit an event for the chats.

    Raises:
        AiWorkflowError: there is no such deployment.
    """
    settings, request = run.settings, run.request
    limit: int = getattr(settings.reactions, f"{action}_per_day")
    parameters = {"config": request.config, "environment": request.environment, "overrides": request.overrides}
    parameters = {name: value for name, value in parameters.items() if value is not None}
    if action == "promotion":
        parameters |= {"breach": breach.text, "model_version": breach.model_version}
    result = await reaction_limits.take(
        reaction_limits.Start(
            action=action,
            deployment=deployment,
            settings=settings,
            event_id=breach.event_id,
            model_version=breach.model_version,
            parameters=parameters,
            limit=limit,
        ),
        lambda: decide(settings, breach)[0] == action,
    )
    subject = {"training": "a training", "promotion": f"the roll-back of {breach.model_version}"}[action]
    if result.outcome == "handled":
        return _handled(breach, subject, result.run)
    started = result.run if result.outcome == "started" else None
    if started is None:
        text = f"{subject} was NOT started: {result.reason}"
        log.warning("%s; the breach: %s", text, breach.text)
    else:
        text = f"{subject} was started, {result.slot} of {limit} today: run {started.name}"
        log.info("%s, for the breach: %s", text, breach.text)
    pipeline = settings.pipeline
    event = STARTED if started else WITHHELD
    _emit(settings, event, f"{action} of {pipeline}", f"reaction.{action}.{pipeline}", text, breach, started)
    return _result(text, action if started else None, started)


def _handled(breach: Breach, subject: str, run: FlowRun | None) -> FlowResult:
    """Log that a run handles a breach already; the chats have the message of its start."""
    text = f"{subject} was not started again: run {run.name if run else ''} handles the breach"
    log.info("%s: %s", text, breach.text)
    return _result(text, None, run)


def _result(message: str, action: Action | None, run: FlowRun | None) -> FlowResult:
    return FlowResult(message, {"what": action, "flow_run_id": str(run.id) if run else None})


def _emit(
    settings: Settings, event: str, name: str, resource: str, text: str, breach: Breach, run: FlowRun | None = None
) -> None:
    emit_event(
        event=event,
        resource={
            "prefect.resource.id": f"ai-workflow.{resource}",
            "prefect.resource.name": name,
            **project.event_labels(settings.environment),
        },
        payload={
            "says": f"{text}. The breach: {breach.text}",
            "flow_run_id": str(run.id) if run else "",
            "trace_id": trace_context.current() or "",
        },
    )


def _not_on_probation(breach: Breach, candidate: tuple[str, datetime] | None) -> str:
    probation = f"{candidate[0]} is on probation" if candidate else "no version is on probation"
    return f"the breach names {breach.model_version or 'no version'}, and {probation}"
