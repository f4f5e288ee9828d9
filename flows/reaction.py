"""The reaction flow: it starts a rollback or a training after a breach of an SLO, a few times a day at most.

`orchestration/reaction_limits.py` holds the limit: it counts model versions, not breaches.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import FlowRun
from prefect.events import emit_event

from ai_workflow.config.settings import Settings
from ai_workflow.orchestration import reaction_limits
from ai_workflow.orchestration.flow_parameters import Environment, LogLevel, Overrides, Pipeline
from ai_workflow.orchestration.maintenance import upkeep
from ai_workflow.orchestration.reaction_limits import What
from ai_workflow.registry.promotion import on_probation
from ai_workflow.registry.registry import Registry
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import logs, trace_context

STARTED, WITHHELD = "ai-workflow.reaction.started", "ai-workflow.reaction.withheld"
log = logs.logger("reaction")


@dataclass(frozen=True, slots=True)
class Breach:
    """A breach as the event says it; what it does not say is empty."""

    event_id: str
    slo: str
    pipeline: str
    model_version: str
    summary: str

    @property
    def words(self) -> str:
        """The breach in words."""
        return (
            self.summary or f"{self.slo} of {self.model_version or self.pipeline or 'an unknown version'} is breached"
        )


@flow(name="reaction", log_prints=False)
async def reaction(
    event_id: str,
    slo: str,
    pipeline: str = "",
    model_version: str = "",
    summary: str = "",
    config: Pipeline = None,
    environment: Environment = None,
    overrides: Overrides = None,
    training: str = "training/training",
    promotion: str = "promotion/promotion",
    log_level: LogLevel = None,
) -> Any:
    """Roll back the version on probation if the breach names it, else train if accuracy is breached.

    Args:
        event_id: id of the event `ai-workflow.slo.breached`; the same event never starts two things.
        slo: which SLO is breached.
        pipeline: of which pipeline; one of another pipeline is left alone. Empty: not known.
        model_version: whose breach it is.
        summary: the breach in words.
        config: pipeline file; the pipeline of `config/base.yaml` if not given.
        environment: which `config/<environment>.yaml` applies.
        overrides: settings that win over every file, as `{"reactions.training_per_day": 1}`.
        training: the deployment that trains anew, as flow/deployment.
        promotion: the deployment that rolls back.
        log_level: DEBUG, INFO, WARNING or ERROR, for this run only.
    """
    breach = Breach(event_id, slo, pipeline, model_version, summary)
    given = {"config": config, "environment": environment, "overrides": overrides}

    async def work(settings: Settings) -> dict[str, Any]:
        if breach.pipeline not in ("", settings.pipeline):
            return unhandled(settings, breach)
        what, why = decide(settings, breach)
        if what is None:
            log.info("nothing follows from the breach: %s", why)
            return {"message": why, "what": None}
        deployment = training if what == "training" else promotion
        return await start(settings, breach, what, deployment, {k: v for k, v in given.items() if v is not None})

    return await upkeep("reaction", work, log_level=log_level, **given)  # type: ignore[arg-type]


def decide(settings: Settings, breach: Breach) -> tuple[What | None, str]:
    """Return what follows from a breach, and why; None: nothing does."""
    registry = Registry(Store(settings.store.root), settings.models)
    candidate = on_probation(registry)
    if candidate and candidate[0] == breach.model_version:
        return "promotion", f"{breach.model_version} is on probation"
    if breach.slo != "accuracy":
        return None, f"{_not_on_probation(breach, candidate)}, and training does not improve {breach.slo}"
    if breach.model_version and breach.model_version not in registry.aliases().values():
        return None, f"{breach.model_version} is neither latest nor stable any more"
    return "training", "accuracy is breached"


def unhandled(settings: Settings, breach: Breach) -> dict[str, Any]:
    """Report a breach of a pipeline that no deployment reacts to, in the log and as an event for the chats."""
    text = (
        f"nothing was started for the breach of the pipeline {breach.pipeline}: the deployment that reacts to breaches "
        f"is of the pipeline {settings.pipeline}. Start a training of {breach.pipeline} by hand, or deploy it to a "
        "Prefect server of its own"
    )
    log.warning("%s; the breach: %s", text, breach.words)
    _emit(WITHHELD, f"reaction to {breach.pipeline}", f"reaction.{breach.pipeline}", text, breach)
    return {"message": text, "what": None, "flow_run_id": None}


def _emit(event: str, name: str, resource: str, text: str, breach: Breach, run: FlowRun | None = None) -> None:
    emit_event(
        event=event,
        resource={"prefect.resource.id": f"ai-workflow.{resource}", "prefect.resource.name": name},
        payload={
            "says": f"{text}. The breach: {breach.words}",
            "flow_run_id": str(run.id) if run else "",
            "trace_id": trace_context.current() or "",
        },
    )


def _not_on_probation(breach: Breach, candidate: tuple[str, datetime] | None) -> str:
    on_trial = f"{candidate[0]} is on probation" if candidate else "no version is on probation"
    return f"the breach names {breach.model_version or 'no version'}, and {on_trial}"


async def start(
    settings: Settings, breach: Breach, what: What, deployment: str, given: dict[str, Any]
) -> dict[str, Any]:
    """Start a run for a breach unless one handles it already, and emit an event for the chats.

    Raises:
        AiWorkflowError: there is no such deployment.
    """
    about = {"breach": breach.words, "model_version": breach.model_version}
    limit: int = getattr(settings.reactions, f"{what}_per_day")
    result = await reaction_limits.take(
        reaction_limits.Start(
            what=what,
            deployment=deployment,
            settings=settings,
            event_id=breach.event_id,
            model_version=breach.model_version,
            parameters=given | (about if what == "promotion" else {}),
            limit=limit,
        ),
        lambda: decide(settings, breach)[0] == what,
    )
    subject = {"training": "a training", "promotion": f"the roll-back of {breach.model_version}"}[what]
    if result.outcome == "handled":
        return _handled(breach, subject, result.run)
    run = result.run if result.outcome == "started" else None
    if run is None:
        text = f"{subject} was NOT started: {result.why}"
        log.warning("%s; the breach: %s", text, breach.words)
    else:
        text = f"{subject} was started, {result.slot} of {limit} today: run {run.name}"
        log.info("%s, for the breach: %s", text, breach.words)
    pipeline = settings.pipeline
    name, resource = f"{what} of {pipeline}", f"reaction.{what}.{pipeline}"
    _emit(STARTED if run else WITHHELD, name, resource, text, breach, run)
    return {"message": text, "what": what if run else None, "flow_run_id": str(run.id) if run else None}


def _handled(breach: Breach, subject: str, run: FlowRun | None) -> dict[str, Any]:
    """Log that a run handles a breach already; the chats have the message of its start."""
    text = f"{subject} was not started again: run {run.name if run else ''} handles the breach"
    log.info("%s: %s", text, breach.words)
    return {"message": text, "what": None, "flow_run_id": str(run.id) if run else None}
