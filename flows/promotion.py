"""The promotion flow: what becomes of a new version, stable after its probation, or rolled back after a breach."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.events import emit_event
from prefect.events.filters import (
    EventFilter,
    EventNameFilter,
    EventOccurredFilter,
    EventResourceFilter,
)
from prefect.events.schemas.events import ResourceSpecification

from ai_workflow.config.settings import Settings
from ai_workflow.inference import prediction_files
from ai_workflow.orchestration.flow_parameters import Environment, LogLevel, Overrides, Pipeline
from ai_workflow.orchestration.idle_runs import IDLE
from ai_workflow.orchestration.maintenance import upkeep
from ai_workflow.registry import promotion as probation
from ai_workflow.registry import verification
from ai_workflow.registry.promotion import Probation
from ai_workflow.registry.registry import Registry
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import logs, trace_context

PROMOTED, ROLLED_BACK = "ai-workflow.model.promoted", "ai-workflow.model.rolled-back"
BREACHED = "ai-workflow.slo.breached"
log = logs.logger("promotion")


@flow(name="promotion", log_prints=False)
async def promotion(
    config: Pipeline = None,
    environment: Environment = None,
    overrides: Overrides = None,
    breach: str = "",
    model_version: str = "",
    log_level: LogLevel = None,
) -> Any:
    """Promote `latest` if its probation is over, or roll it back; safe to run at any time, and twice at once.

    Args:
        config: pipeline file; the pipeline of `config/base.yaml` if not given.
        environment: which `config/<environment>.yaml` applies.
        overrides: settings that win over every file, as `{"promotion.hours": 1}`.
        breach: what speaks against `latest`, in words: an alert, or what a person saw. It is rolled back at once.
        model_version: the version that the breach is about; another one is not rolled back. Empty: `latest`.
        log_level: DEBUG, INFO, WARNING or ERROR, for this run only.
    """

    async def work(settings: Settings) -> dict[str, Any]:
        recorded = "" if breach else await _recorded_breach(settings)
        return await asyncio.to_thread(decide, settings, breach, recorded, model_version)

    return await upkeep(
        "promotion", work, config=config, environment=environment, overrides=overrides, log_level=log_level
    )


def decide(settings: Settings, breach: str, recorded: str = "", model_version: str = "") -> dict[str, Any]:
    """Promote or roll back the version on probation, or leave it, and return what was done.

    Args:
        settings: the configuration.
        breach: the reason to roll it back at once, in words.
        recorded: a breach since the probation began that no rollback has followed, in words.
        model_version: the version that `breach` is about; empty for `latest`.
    """
    registry = Registry(Store(settings.store.root), settings.models)
    found = _look(registry, settings, breach, recorded)
    if breach and model_version and (found is None or found.version != model_version):
        message = f"{model_version} is not on probation any more, and is not rolled back: {breach}"
        log.info("%s: %s", settings.pipeline, message)
        return {"message": message, "verdict": "nothing to do", **registry.aliases()}
    verdict, reason = probation.verdict(found, settings.promotion, datetime.now(UTC))
    before = registry.aliases()
    if found is None or verdict in ("wait", "nothing to do"):
        log.info("%s: %s", settings.pipeline, reason)
        return {"message": reason, "verdict": verdict, **before, IDLE: found is None and not breach}
    if verdict == "roll back" and before["stable"] is None:
        message = (
            f"{found.version} cannot be rolled back, there is no stable version: {reason}. Publish another version"
        )
        log.warning("%s: %s", settings.pipeline, message)
        return {"message": message, "verdict": "nothing to do", **before}
    if verdict == "promote":
        changed = probation.promote(registry, found.version, reason, expected=found.version)
    else:
        changed = probation.roll_back(registry, reason, expected=found.version)
    if changed is None:
        return {"message": "another promotion was quicker", "verdict": verdict, **registry.aliases()}
    _tell(settings, verdict, found.version, reason, changed.aliases)
    return {"message": f"{found.version}: {verdict}: {reason}", "verdict": verdict, **changed.aliases}


async def _recorded_breach(settings: Settings) -> str:
    """Return the last breach that names the version on probation; empty if there is none.

    The reaction flow rolls back at once. What it could not act on, such as one breach more than
    `reactions.promotion_per_day` allows, must not end with the promotion of a version that fails.
    """
    registry = Registry(Store(settings.store.root), settings.models)
    candidate = await asyncio.to_thread(probation.on_probation, registry)
    if candidate is None:
        return ""
    version, since = candidate
    named = {"ai-workflow.pipeline": settings.pipeline, "ai-workflow.model_version": version}
    wanted = EventFilter(
        occurred=EventOccurredFilter(since=since),
        event=EventNameFilter(name=[BREACHED]),
        resource=EventResourceFilter(labels=ResourceSpecification.model_validate(named)),
    )
    async with get_client() as client:
        found = await client.read_events(wanted, limit=1)
    if not found.events:
        return ""
    return str(found.events[0].payload.get("summary") or f"{version} breached an SLO")


def _look(registry: Registry, settings: Settings, breach: str, recorded: str) -> Probation | None:
    """Return the probation of `latest`, or None if there is none."""
    candidate = probation.on_probation(registry)
    if candidate is None:
        return None
    name, since = candidate
    since = probation.restart_if_ahead(registry, name, since, datetime.now(UTC))
    if not breach:
        with registry.leased(name, "promotion") as version:
            breach = "; ".join(verification.problems(registry, version, settings.model.timeout)[:1])
    rows = prediction_files.rows_of(registry.store, settings.pipeline, name, since)
    return Probation(name, since, rows, breach, recorded, settings.service.prediction_log.enabled)


def _tell(settings: Settings, verdict: str, version: str, reason: str, after: dict[str, str | None]) -> None:
    """Say it in the log, and as an event, which an automation or the relay passes on."""
    say = log.info if verdict == "promote" else log.warning
    say("%s %s: %s (%s); latest is %s, stable %s", version, verdict, reason, settings.pipeline, *after.values())
    emit_event(
        event=PROMOTED if verdict == "promote" else ROLLED_BACK,
        resource={
            "prefect.resource.id": f"ai-workflow.model.{settings.environment}.{settings.pipeline}.{version}",
            "prefect.resource.name": f"{settings.pipeline} {version}",
            "ai-workflow.pipeline": settings.pipeline,
            "ai-workflow.version": version,
        },
        payload={"reason": reason, "trace_id": trace_context.current() or "", **{k: v or "" for k, v in after.items()}},
    )
