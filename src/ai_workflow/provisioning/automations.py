"""Automations of the project: notifications about runs, and reactions to SLO breaches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import StateType
from prefect.events.actions import CallWebhook, ChangeFlowRunState, DeleteFlowRun, RunDeployment
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from ai_workflow.alerting.prefect_webhook import TEMPLATE
from ai_workflow.config.settings import Settings

PREFIX = "ai-workflow: "
TAG = "ai-workflow"
DAY = timedelta(days=1)
# Minimum interval of notifications about late runs of a deployment: without a worker, every run is late.
LATE_INTERVAL = timedelta(hours=6)
IDLE = "Idle"
ENDED = ("Completed", IDLE, "Failed", "TimedOut", "Cancelled", "Crashed", "Paused", "Suspended", "AwaitingRetry")
BREACHED = "ai-workflow.slo.breached"
_PROJECT_RESOURCE = {"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{TAG}"}
# Prefect tags the runs of schedules; manual runs are not deleted.
_SCHEDULED = {"prefect.resource.role": "tag", "prefect.resource.id": "prefect.tag.auto-scheduled"}
_RUNS = {"prefect.resource.id": "prefect.flow-run.*"}


@dataclass(frozen=True, slots=True)
class References:
    """Blocks and deployments that automations refer to.

    Args:
        relay: ID of the Webhook block of the relay; None for no notifications.
        reaction: ID of the deployment that reacts to SLO breaches; None for no reactions.
        silence: time without heartbeat after which a run is marked as crashed.
    """

    relay: UUID | None
    reaction: UUID | None
    silence: timedelta


def references_of(settings: Settings, relay: UUID | None, deployments: Mapping[str, UUID]) -> References:
    """Return the references of the automations of a configuration.

    The recovery flow also checks the locks of the runs, so it acts first, after half the silence. The automation acts
    if no worker is left to run that flow.
    """
    silence = timedelta(seconds=max(10.0, 2 * settings.recovery.heartbeat_seconds))
    return References(relay, deployments.get("reaction/reaction"), silence)


def declared(references: References) -> list[AutomationCore]:
    """Return the automations, in a fixed order."""
    automations = [_silent(references.silence), _idle()]
    if references.relay is not None:
        automations += _notifications(references.relay)
    if references.reaction is not None:
        automations.append(_reaction(references.reaction))
    return automations


def _notifications(relay: UUID) -> Iterator[AutomationCore]:
    once = {"for_each": {"prefect.resource.id"}, "within": DAY}
    yield _notification(
        relay, "run failed", "A run has failed. One notification a day for each run", {"Failed", "TimedOut"}, **once
    )
    yield _notification(
        relay, "run crashed", "The process of a run has died. One notification a day for each run",
        {"Crashed"}, **once,
    )  # fmt: skip
    yield _notification(
        relay, "run late", "A run has not begun in time. One notification in six hours for each deployment", {"Late"},
        for_each={"related:deployment:prefect.resource.id"}, within=LATE_INTERVAL,
    )  # fmt: skip
    yield _automation(
        "no worker", "No worker of the work pool is online, so nothing runs",
        EventTrigger(
            expect={"prefect.work-pool.not-ready"},
            match=_resource({"prefect.resource.id": "prefect.work-pool.*", "prefect.resource.name": TAG}),
            posture=Posture.Reactive, threshold=1,
        ),
        CallWebhook(block_document_id=relay, payload=payload("page", '"no worker is online"')),
    )  # fmt: skip
    for name, event, severity, about in (
        ("reaction started", "ai-workflow.reaction.started", "chat", "An SLO breach has started a flow"),
        (
            "reaction withheld",
            "ai-workflow.reaction.withheld",
            "ticket",
            "An SLO breach has not started a flow, because the daily limit is reached",
        ),
        ("drill", "ai-workflow.drill", "chat", "A test of the delivery of alerts to chats"),
    ):
        trigger = EventTrigger(expect={event}, posture=Posture.Reactive, threshold=1)
        action = CallWebhook(block_document_id=relay, payload=payload(severity, 'event.payload.get("says", "")'))
        yield _automation(name, about, trigger, action)


def payload(severity: str, message: str) -> str:
    """Return the payload for the relay of an event other than the state of a run; `message` is a Jinja expression."""
    text = TEMPLATE.replace('"severity": "ticket"', f'"severity": "{severity}"')
    values = {"name": "event.resource.name", "state": "event.event.split('.')[-1]", "message": message}
    lines = []
    for line in text.splitlines():
        key = line.strip().partition(":")[0].strip('"')
        lines.append(f'  "{key}": {{{{ ({values[key]}) | string | tojson }}}},' if key in values else line)
    return "\n".join(lines)


def _notification(relay: UUID, name: str, about: str, states: set[str], **trigger: Any) -> AutomationCore:
    event_trigger = EventTrigger(
        expect={f"prefect.flow-run.{state}" for state in states},
        match=_resource(_RUNS),
        match_related=_resource(_PROJECT_RESOURCE),
        posture=Posture.Reactive,
        threshold=1,
        **trigger,
    )
    return _automation(name, about, event_trigger, CallWebhook(block_document_id=relay, payload=TEMPLATE))


def _silent(silence: timedelta) -> AutomationCore:
    heartbeat = "prefect.flow-run.heartbeat"
    trigger = EventTrigger(
        after={heartbeat},
        expect={heartbeat, *(f"prefect.flow-run.{state}" for state in ENDED)},
        match=_resource(_RUNS),
        match_related=_resource(_PROJECT_RESOURCE),
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=silence,
    )
    message = f"no heartbeat for {silence.total_seconds():g} s, and the recovery flow has not run"
    about = "Mark a run without heartbeats as Crashed, if the recovery flow does not run"
    return _automation("run silent", about, trigger, ChangeFlowRunState(state=StateType.CRASHED, message=message))


def _idle() -> AutomationCore:
    trigger = EventTrigger(
        expect={f"prefect.flow-run.{IDLE}"}, match=_resource(_RUNS),
        match_related=[_resource(_PROJECT_RESOURCE), _resource(_SCHEDULED)],
        posture=Posture.Reactive, threshold=1,
    )  # fmt: skip
    about = "Delete a scheduled run that had nothing to do"
    return _automation("run idle", about, trigger, DeleteFlowRun())


def _reaction(deployment: UUID) -> AutomationCore:
    parameters = {
        "event_id": _jinja("event.id"),
        "slo": _jinja('event.resource.get("ai-workflow.slo", "")'),
        "pipeline": _jinja('event.resource.get("ai-workflow.pipeline", "")'),
        "model_version": _jinja('event.resource.get("ai-workflow.model_version", "")'),
        "summary": _jinja('event.payload.get("summary", "")'),
    }
    trigger = EventTrigger(expect={BREACHED}, posture=Posture.Reactive, threshold=1)
    action = RunDeployment(source="selected", deployment_id=deployment, parameters=parameters)
    about = "React to an SLO breach by a training or a rollback, within daily limits"
    return _automation("slo breached", about, trigger, action)


def _automation(name: str, about: str, trigger: EventTrigger, action: Any) -> AutomationCore:
    return AutomationCore(name=PREFIX + name, description=about, enabled=True, trigger=trigger, actions=[action])


def _resource(labels: dict[str, str]) -> ResourceSpecification:
    return ResourceSpecification.model_validate(labels)


def _jinja(expression: str) -> dict[str, str]:
    return {"__prefect_kind": "jinja", "template": f"{{{{ ({expression}) | string }}}}"}
