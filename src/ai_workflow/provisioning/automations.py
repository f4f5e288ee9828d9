"""Automations of the project: notifications about runs, and reactions to SLO breaches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import StateType
from prefect.events.actions import CallWebhook, ChangeFlowRunState, DeleteFlowRun, RunDeployment
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from ai_workflow.alerting.prefect_webhook import TEMPLATE
from ai_workflow.config.settings import Settings
from ai_workflow.orchestration import owner_label

DAY = timedelta(days=1)
# Minimum interval of notifications about late runs of a deployment: without a worker, every run is late.
LATE_INTERVAL = timedelta(hours=6)
IDLE = "Idle"
ENDED = ("Completed", IDLE, "Failed", "TimedOut", "Cancelled", "Crashed", "Paused", "Suspended", "AwaitingRetry")
BREACHED = "ai-workflow.slo.breached"
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
        label: the label of the owner; empty for the first owner of the server.
        event_labels: labels of the events of the owner; empty for all events, if the server has one owner.
    """

    relay: UUID | None
    reaction: UUID | None
    silence: timedelta
    label: str = ""
    event_labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def runs(self) -> ResourceSpecification:
        """The tag of the runs of the owner."""
        return _resource(
            {"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{owner_label.tag(self.label)}"}
        )

    def automation(self, name: str, about: str, trigger: EventTrigger, action: Any) -> AutomationCore:
        """Return an automation of the owner."""
        full_name = prefix(self.label) + name
        return AutomationCore(name=full_name, description=about, enabled=True, trigger=trigger, actions=[action])


def prefix(label: str) -> str:
    """Return the beginning of the names of the automations of an owner."""
    return f"{owner_label.TAG} {label}: " if label else f"{owner_label.TAG}: "


def references_of(
    settings: Settings,
    relay: UUID | None,
    deployments: Mapping[str, UUID],
    label: str = "",
    event_labels: Mapping[str, str] = MappingProxyType({}),
) -> References:
    """Return the references of the automations of a configuration.

    The recovery flow also checks the locks of the runs, so it acts first, after half the silence. The automation acts
    if no worker is left to run that flow.
    """
    silence = timedelta(seconds=max(10.0, 2 * settings.recovery.heartbeat_seconds))
    reaction = deployments.get(owner_label.name("reaction/reaction", label))
    return References(relay, reaction, silence, label, event_labels)


def declared(references: References) -> list[AutomationCore]:
    """Return the automations, in a fixed order."""
    automations = [_silent(references), _idle(references)]
    if references.relay is not None:
        automations += _notifications(references, references.relay)
    if references.reaction is not None:
        automations.append(_reaction(references, references.reaction))
    return automations


def _notifications(references: References, relay: UUID) -> Iterator[AutomationCore]:
    pool = owner_label.name(owner_label.TAG, references.label)
    once = {"for_each": {"prefect.resource.id"}, "within": DAY}
    yield _notification(
        references,
        relay,
        "run failed",
        "A run has failed. One notification a day for each run",
        {"Failed", "TimedOut"},
        **once,
    )
    yield _notification(
        references, relay, "run crashed", "The process of a run has died. One notification a day for each run",
        {"Crashed"}, **once,
    )  # fmt: skip
    yield _notification(
        references, relay, "run late", "A run has not begun in time. One notification in six hours for each deployment",
        {"Late"},
        for_each={"related:deployment:prefect.resource.id"}, within=LATE_INTERVAL,
    )  # fmt: skip
    yield references.automation(
        "no worker", "No worker of the work pool is online, so nothing runs",
        EventTrigger(
            expect={"prefect.work-pool.not-ready"},
            match=_resource({"prefect.resource.id": "prefect.work-pool.*", "prefect.resource.name": pool}),
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
        trigger = _on_event(references, event)
        action = CallWebhook(block_document_id=relay, payload=payload(severity, 'event.payload.get("says", "")'))
        yield references.automation(name, about, trigger, action)


def is_of_project(trigger: EventTrigger) -> bool:
    """Return whether a trigger expects events that this project emits."""
    return bool(trigger.expect) and all(event.startswith(f"{owner_label.TAG}.") for event in trigger.expect)


def payload(severity: str, message: str) -> str:
    """Return the payload for the relay of an event other than the state of a run; `message` is a Jinja expression."""
    text = TEMPLATE.replace('"severity": "ticket"', f'"severity": "{severity}"')
    values = {"name": "event.resource.name", "state": "event.event.split('.')[-1]", "message": message}
    lines = []
    for line in text.splitlines():
        key = line.strip().partition(":")[0].strip('"')
        lines.append(f'  "{key}": {{{{ ({values[key]}) | string | tojson }}}},' if key in values else line)
    return "\n".join(lines)


def _notification(
    references: References, relay: UUID, name: str, about: str, states: set[str], **trigger: Any
) -> AutomationCore:
    event_trigger = EventTrigger(
        expect={f"prefect.flow-run.{state}" for state in states},
        match=_resource(_RUNS),
        match_related=references.runs,
        posture=Posture.Reactive,
        threshold=1,
        **trigger,
    )
    return references.automation(name, about, event_trigger, CallWebhook(block_document_id=relay, payload=TEMPLATE))


def _silent(references: References) -> AutomationCore:
    heartbeat = "prefect.flow-run.heartbeat"
    trigger = EventTrigger(
        after={heartbeat},
        expect={heartbeat, *(f"prefect.flow-run.{state}" for state in ENDED)},
        match=_resource(_RUNS),
        match_related=references.runs,
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=references.silence,
    )
    message = f"no heartbeat for {references.silence.total_seconds():g} s, and the recovery flow has not run"
    about = "Mark a run without heartbeats as Crashed, if the recovery flow does not run"
    return references.automation(
        "run silent", about, trigger, ChangeFlowRunState(state=StateType.CRASHED, message=message)
    )


def _idle(references: References) -> AutomationCore:
    trigger = EventTrigger(
        expect={f"prefect.flow-run.{IDLE}"}, match=_resource(_RUNS),
        match_related=[references.runs, _resource(_SCHEDULED)],
        posture=Posture.Reactive, threshold=1,
    )  # fmt: skip
    about = "Delete a scheduled run that had nothing to do"
    return references.automation("run idle", about, trigger, DeleteFlowRun())


def _reaction(references: References, deployment: UUID) -> AutomationCore:
    parameters = {
        "event_id": _jinja("event.id"),
        "slo": _jinja('event.resource.get("ai-workflow.slo", "")'),
        "pipeline": _jinja('event.resource.get("ai-workflow.pipeline", "")'),
        "model_version": _jinja('event.resource.get("ai-workflow.model_version", "")'),
        "summary": _jinja('event.payload.get("summary", "")'),
    }
    trigger = _on_event(references, BREACHED)
    action = RunDeployment(source="selected", deployment_id=deployment, parameters=parameters)
    about = "React to an SLO breach by a training or a rollback, within daily limits"
    return references.automation("slo breached", about, trigger, action)


def _on_event(references: References, event: str) -> EventTrigger:
    match = _resource(dict(references.event_labels))
    return EventTrigger(expect={event}, match=match, posture=Posture.Reactive, threshold=1)


def _resource(labels: dict[str, str]) -> ResourceSpecification:
    return ResourceSpecification.model_validate(labels)


def _jinja(expression: str) -> dict[str, str]:
    return {"__prefect_kind": "jinja", "template": f"{{{{ ({expression}) | string }}}}"}
