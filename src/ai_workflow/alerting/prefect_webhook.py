"""The webhook of a Prefect automation -> a notice; `TEMPLATE` is the payload that the automation must send."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field

from ai_workflow import json_text
from ai_workflow.alerting import request_bodies
from ai_workflow.alerting.messages.notification import Alert, Link, Notice
from ai_workflow.alerting.messages.sanitize import clean, clean_url, clip, moment
from ai_workflow.config.settings.chat import Severity
from ai_workflow.errors import AiWorkflowError
from ai_workflow.telemetry import trace_context

# Prefect fills it in with Jinja; `tojson` quotes what a message may hold. Not every event has a flow run.
TEMPLATE = """{
  "event": {{ event.event | tojson }},
  "event_id": {{ event.id | string | tojson }},
  "occurred": {{ event.occurred | string | tojson }},
  "severity": "ticket",
  "automation": {{ automation.name | tojson }},
  "resource": {{ event.resource.id | tojson }},
  "name": {{ (flow_run.name if flow_run else event.resource.name) | string | tojson }},
  "flow": {{ (flow.name if flow else "") | tojson }},
  "deployment": {{ (deployment.name if deployment else "") | tojson }},
  "flow_run_id": {{ (flow_run.id if flow_run else "") | string | tojson }},
  "state": {{ (flow_run.state.name if flow_run else "") | tojson }},
  "message": {{ (flow_run.state.message if flow_run else "") | string | tojson }},
  "traceparent": {{ (flow_run.parameters.get("traceparent") if flow_run else "") | string | tojson }},
  "url": {{ (flow_run | ui_url if flow_run else "") | string | tojson }}
}"""


_MAX_CHARACTERS = 100_000


def _text(value: object) -> object:
    """Return a value as text of bounded length: Prefect calls the webhook once, whatever the answer is.

    Jinja writes None where there is no value.
    """
    if value in (None, "None"):
        return ""
    return clip(value if isinstance(value, str) else json_text.line(json_text.finite(value)), _MAX_CHARACTERS)


_Text = Annotated[str, BeforeValidator(_text)]


class _Webhook(BaseModel):
    event: _Text = Field(min_length=1)
    event_id: _Text = Field(min_length=1)
    occurred: datetime
    severity: Severity = "ticket"
    automation: _Text = ""
    resource: _Text = ""
    name: _Text = ""
    flow: _Text = ""
    deployment: _Text = ""
    flow_run_id: _Text = ""
    state: _Text = ""
    message: _Text = ""
    traceparent: _Text = ""
    url: _Text = ""


def notice(body: bytes) -> Notice:
    """Return the event of an automation as one alert that fires; no other event ends it.

    Raises:
        bodies.BadBody: the body is not what `TEMPLATE` gives.
    """
    found = request_bodies.read(_Webhook, body)
    labels = {"flow": found.flow, "deployment": found.deployment, "run": found.name}
    url = clean_url(found.url)
    alert = Alert(
        key=f"prefect/{found.event_id}",
        status="firing",
        name=clean(found.automation or found.event, 120),
        severity=found.severity,
        summary=_summary(found),
        since=moment(found.occurred),
        trace_id=_trace_id(found),
        labels={name: clean(value, 120) for name, value in labels.items() if value},
        links=(Link("run", url),) if url else (),
    )
    return Notice(f"prefect/{clean(found.automation or found.event)}", (alert,))


def _summary(found: Any) -> str:
    what = found.name or found.resource
    state = found.state or found.event
    return clean(f"{what}: {state}. {found.message}" if found.message else f"{what}: {state}")


def _trace_id(found: Any) -> str:
    try:
        return trace_context.from_traceparent(found.traceparent)
    except AiWorkflowError:
        return trace_context.trace_id_of_run(found.flow_run_id) if found.flow_run_id else ""
