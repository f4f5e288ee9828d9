"""Promotion or rollback of the version on probation, reported in the log and as a Prefect event."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime

from prefect.client.orchestration import get_client
from prefect.events import emit_event
from prefect.events.filters import EventFilter, EventNameFilter, EventOccurredFilter, EventResourceFilter
from prefect.events.schemas.events import ResourceSpecification

from ai_workflow.config import project
from ai_workflow.config.settings import Settings
from ai_workflow.inference import prediction_files
from ai_workflow.orchestration.flow_result import FlowResult
from ai_workflow.registry import promotion, verification
from ai_workflow.registry.promotion import Probation, Verdict
from ai_workflow.registry.registry import Registry
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import logs, trace_context

PROMOTED, ROLLED_BACK = "ai-workflow.model.promoted", "ai-workflow.model.rolled-back"
BREACHED = "ai-workflow.slo.breached"
_PAGE = 50
log = logs.logger("promotion")


def decide(settings: Settings, breach: str, recorded: str = "", model_version: str = "") -> FlowResult:
    """Promote or roll back the version on probation, or leave it, and return what was done.

    Args:
        settings: the configuration.
        breach: the reason to roll it back at once, in words.
        recorded: a breach since the probation began that no rollback has followed, in words.
        model_version: the version that `breach` is about; empty for `latest`.
    """
    registry = Registry(Store(settings.store.root), settings.models)
    current = _probation(registry, settings, breach, recorded)
    aliases = registry.aliases()
    if breach and model_version and (current is None or current.version != model_version):
        message = f"{model_version} is not on probation any more, and is not rolled back: {breach}"
        log.info("%s: %s", settings.pipeline, message)
        return _result(message, "nothing to do", aliases)
    verdict, reason = promotion.verdict(current, settings.promotion, datetime.now(UTC))
    if current is None or verdict in ("wait", "nothing to do"):
        log.info("%s: %s", settings.pipeline, reason)
        return _result(reason, verdict, aliases, is_idle=current is None and not breach)
    if verdict == "roll back" and aliases["stable"] is None:
        message = (
            f"{current.version} cannot be rolled back, there is no stable version: {reason}. Publish another version"
        )
        log.warning("%s: %s", settings.pipeline, message)
        return _result(message, "nothing to do", aliases)
    if verdict == "promote":
        changed = promotion.promote(registry, current.version, reason, expected=current.version)
    else:
        changed = promotion.roll_back(registry, reason, expected=current.version)
    if changed is None:
        return _result("another promotion was quicker", verdict, registry.aliases())
    _report(settings, verdict, current.version, reason, changed.aliases)
    return _result(f"{current.version}: {verdict}: {reason}", verdict, changed.aliases)


async def recorded_breach(settings: Settings) -> str:
    """Return the last breach that names the version on probation; empty if there is none.

    The reaction flow rolls back at once. A breach without a rollback, such as one beyond
    `reactions.promotion_per_day`, still prevents the promotion of the version.
    """
    registry = Registry(Store(settings.store.root), settings.models)
    candidate = await asyncio.to_thread(promotion.on_probation, registry)
    if candidate is None:
        return ""
    version, since = candidate
    labels = {"ai-workflow.pipeline": settings.pipeline, "ai-workflow.model_version": version}
    event_filter = EventFilter(
        occurred=EventOccurredFilter(since=since),
        event=EventNameFilter(name=[BREACHED]),
        resource=EventResourceFilter(labels=ResourceSpecification.model_validate(labels)),
    )
    async with get_client() as client:
        page = await client.read_events(event_filter, limit=_PAGE)
    own = project.event_labels(settings.environment)
    # A missing label is of a relay of an earlier release, or of an event that a program has sent.
    events = [each for each in page.events if all(each.resource.get(key) in (None, "", own[key]) for key in own)]
    if not events:
        return ""
    return str(events[0].payload.get("summary") or f"{version} breached an SLO")


def _result(message: str, verdict: Verdict, aliases: Mapping[str, str | None], *, is_idle: bool = False) -> FlowResult:
    return FlowResult(message, {"verdict": verdict, **aliases}, is_idle=is_idle)


def _probation(registry: Registry, settings: Settings, breach: str, recorded: str) -> Probation | None:
    """Return the probation of `latest`, or None if there is none."""
    candidate = promotion.on_probation(registry)
    if candidate is None:
        return None
    name, since = candidate
    since = promotion.restart_if_ahead(registry, name, since, datetime.now(UTC))
    if not breach:
        with registry.leased(name, "promotion") as version:
            breach = "; ".join(verification.problems(registry, version, settings.model.timeout)[:1])
    rows = prediction_files.rows_of(registry.store, settings.pipeline, name, since)
    return Probation(name, since, rows, breach, recorded, settings.service.prediction_log.enabled)


def _report(settings: Settings, verdict: Verdict, version: str, reason: str, aliases: Mapping[str, str | None]) -> None:
    """Log a change, and emit it as an event, which an automation or the relay sends to the chats."""
    write = log.info if verdict == "promote" else log.warning
    write("%s %s: %s (%s); latest is %s, stable %s", version, verdict, reason, settings.pipeline, *aliases.values())
    emit_event(
        event=PROMOTED if verdict == "promote" else ROLLED_BACK,
        resource={
            "prefect.resource.id": f"ai-workflow.model.{settings.environment}.{settings.pipeline}.{version}",
            "prefect.resource.name": f"{settings.pipeline} {version}",
            "ai-workflow.pipeline": settings.pipeline,
            "ai-workflow.version": version,
            **project.event_labels(settings.environment),
        },
        payload={
            "reason": reason,
            "trace_id": trace_context.current() or "",
            **{alias: name or "" for alias, name in aliases.items()},
        },
    )
