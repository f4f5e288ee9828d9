"""The webhook of a Prefect automation -> a notice; `TEMPLATE` is the payload that the automation must send."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field

from ai_workflow import trace
from ai_workflow.errors import AiWorkflowError
from ai_workflow.settings.chat import Severity
from monitoring.relay import bodies
from monitoring.relay.clean import clean, clean_url, moment
from monitoring.relay.notice import Alert, Link, Notice

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


def _said(value: object) -> object:
    """Jinja says None where there is nothing to say."""
    return "" if value in (None, "None") else value


_Text = Annotated[str, BeforeValidator(_said), Field(max_length=100_000)]


class _Webhook(BaseModel):
    event: str = Field(min_length=1, max_length=500)
    event_id: str = Field(min_length=1, max_length=200)
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
    """Return what an automation has to say; each event is one alert that fires, and nothing tells that it is over.

    Raises:
        bodies.BadBody: the body is not what `TEMPLATE` gives.
    """
    found = bodies.read(_Webhook, body)
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
        return trace.from_traceparent(found.traceparent)
    except AiWorkflowError:
        return trace.id_of_run(found.flow_run_id) if found.flow_run_id else ""
