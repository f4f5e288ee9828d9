"""The automations that the project needs: who is told of a run in trouble, and what follows from a breach."""

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
# A worker that is down makes one run late after the other: of each deployment one is told in so long.
LATE_AGAIN = timedelta(hours=6)
IDLE = "Idle"
ENDED = ("Completed", IDLE, "Failed", "TimedOut", "Cancelled", "Crashed", "Paused", "Suspended", "AwaitingRetry")
BREACHED = "ai-workflow.slo.breached"
_OURS = {"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{TAG}"}
# Prefect tags the runs that its schedules create; a run that a person started stays.
_SCHEDULED = {"prefect.resource.role": "tag", "prefect.resource.id": "prefect.tag.auto-scheduled"}
_RUNS = {"prefect.resource.id": "prefect.flow-run.*"}


@dataclass(frozen=True, slots=True)
class Needs:
    """What automations refer to.

    Args:
        relay: id of the Webhook block of the relay; None: nobody is told.
        reaction: id of the deployment that reacts to breaches; None: nothing follows from them.
        silence: after which a run is taken for dead.
    """

    relay: UUID | None
    reaction: UUID | None
    silence: timedelta


def needs(settings: Settings, relay: UUID | None, deployments: Mapping[str, UUID]) -> Needs:
    """Return what the automations of a configuration refer to.

    Twice the silence after which the recovery flow acts: it knows more, by the locks of the runs, and goes first; the
    automation is for when no worker is left that could run it.
    """
    silence = timedelta(seconds=max(10.0, 2 * settings.recovery.heartbeat_seconds))
    return Needs(relay, deployments.get("reaction/reaction"), silence)


def wanted(need: Needs) -> list[AutomationCore]:
    """Return the automations, in a fixed order."""
    found = [_silent(need.silence), _idle()]
    if need.relay is not None:
        found += _told(need.relay)
    if need.reaction is not None:
        found.append(_reaction(need.reaction))
    return found


def _told(relay: UUID) -> Iterator[AutomationCore]:
    once = {"for_each": {"prefect.resource.id"}, "within": DAY}
    yield _tell(relay, "run failed", "A run has failed. Told once a day for each run", {"Failed", "TimedOut"}, **once)
    yield _tell(
        relay, "run crashed", "The process of a run is gone. Told once a day for each run, not at each attempt",
        {"Crashed"}, **once,
    )  # fmt: skip
    yield _tell(
        relay, "run late", "A run has not begun in time. Told once in six hours for each deployment", {"Late"},
        for_each={"related:deployment:prefect.resource.id"}, within=LATE_AGAIN,
    )  # fmt: skip
    yield _automation(
        "no worker", "No worker of the work pool is left, so nothing runs",
        EventTrigger(
            expect={"prefect.work-pool.not-ready"},
            match=_resource({"prefect.resource.id": "prefect.work-pool.*", "prefect.resource.name": TAG}),
            posture=Posture.Reactive, threshold=1,
        ),
        CallWebhook(block_document_id=relay, payload=payload("page", '"no worker is left"')),
    )  # fmt: skip
    for name, event, severity, about in (
        ("reaction started", "ai-workflow.reaction.started", "chat", "A breach has started something"),
        ("reaction withheld", "ai-workflow.reaction.withheld", "ticket", "A breach would have, but not so often a day"),
        ("drill", "ai-workflow.drill", "chat", "Somebody tries whether alarms reach the chats"),
    ):
        trigger = EventTrigger(expect={event}, posture=Posture.Reactive, threshold=1)
        said = CallWebhook(block_document_id=relay, payload=payload(severity, 'event.payload.get("says", "")'))
        yield _automation(name, about, trigger, said)


def payload(severity: str, message: str) -> str:
    """Return the relay's template for an event that is no state of a run: its resource, and a Jinja expression."""
    text = TEMPLATE.replace('"severity": "ticket"', f'"severity": "{severity}"')
    own = {"name": "event.resource.name", "state": "event.event.split('.')[-1]", "message": message}
    lines = []
    for line in text.splitlines():
        key = line.strip().partition(":")[0].strip('"')
        lines.append(f'  "{key}": {{{{ ({own[key]}) | string | tojson }}}},' if key in own else line)
    return "\n".join(lines)


def _tell(relay: UUID, name: str, about: str, states: set[str], **trigger: Any) -> AutomationCore:
    found = EventTrigger(
        expect={f"prefect.flow-run.{state}" for state in states},
        match=_resource(_RUNS),
        match_related=_resource(_OURS),
        posture=Posture.Reactive,
        threshold=1,
        **trigger,
    )
    return _automation(name, about, found, CallWebhook(block_document_id=relay, payload=TEMPLATE))


def _silent(silence: timedelta) -> AutomationCore:
    beat = "prefect.flow-run.heartbeat"
    trigger = EventTrigger(
        after={beat},
        expect={beat, *(f"prefect.flow-run.{state}" for state in ENDED)},
        match=_resource(_RUNS),
        match_related=_resource(_OURS),
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=silence,
    )
    message = f"no heartbeat for {silence.total_seconds():g} s, and no recovery has seen to it"
    about = "A run that has gone silent is marked Crashed, where no recovery is left to do so"
    return _automation("run silent", about, trigger, ChangeFlowRunState(state=StateType.CRASHED, message=message))


def _idle() -> AutomationCore:
    trigger = EventTrigger(
        expect={f"prefect.flow-run.{IDLE}"}, match=_resource(_RUNS),
        match_related=[_resource(_OURS), _resource(_SCHEDULED)],
        posture=Posture.Reactive, threshold=1,
    )  # fmt: skip
    about = "A scheduled run that found nothing to do is deleted: the history is for runs that did something"
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
    about = "A breach of an SLO starts a training, or rolls back the version on probation, a few times a day at most"
    return _automation("slo breached", about, trigger, action)


def _automation(name: str, about: str, trigger: EventTrigger, action: Any) -> AutomationCore:
    return AutomationCore(name=PREFIX + name, description=about, enabled=True, trigger=trigger, actions=[action])


def _resource(labels: dict[str, str]) -> ResourceSpecification:
    return ResourceSpecification.model_validate(labels)


def _jinja(expression: str) -> dict[str, str]:
    return {"__prefect_kind": "jinja", "template": f"{{{{ ({expression}) | string }}}}"}
