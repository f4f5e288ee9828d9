"""Parser of Prefect automation webhooks; `TEMPLATE` is the payload that the automation must send."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field

from ai_workflow import json_text
from ai_workflow.alerting import request_bodies
from ai_workflow.alerting.messages.notification import Alert, Link, Notification
from ai_workflow.alerting.messages.sanitize import clean, clean_url, clip, normalize_timestamp
from ai_workflow.config import pipeline_folders
from ai_workflow.config.settings.chat import Severity
from ai_workflow.errors import AiWorkflowError
from ai_workflow.telemetry import trace_context

# A Jinja template; `tojson` quotes arbitrary messages. Not every event has a flow run.
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
  "tags": {{ (flow_run.tags if flow_run else []) | list | tojson }},
  "flow_run_id": {{ (flow_run.id if flow_run else "") | string | tojson }},
  "state": {{ (flow_run.state.name if flow_run else "") | tojson }},
  "message": {{ (flow_run.state.message if flow_run else "") | string | tojson }},
  "traceparent": {{ (flow_run.parameters.get("traceparent") if flow_run else "") | string | tojson }},
  "url": {{ (flow_run | ui_url if flow_run else "") | string | tojson }}
}"""
_MAX_CHARACTERS = 100_000


def _text(value: object) -> object:
    """Return a value as text of bounded length; Jinja writes `None` for a missing value.

    Values are never rejected, because Prefect does not repeat a webhook.
    """
    if value in (None, "None"):
        return ""
    return clip(value if isinstance(value, str) else json_text.line(json_text.finite(value)), _MAX_CHARACTERS)


def _texts(value: object) -> object:
    """Return the texts of a list; anything else gives none."""
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()


_Text = Annotated[str, BeforeValidator(_text)]
_Texts = Annotated[tuple[str, ...], BeforeValidator(_texts)]


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
    tags: _Texts = ()
    flow_run_id: _Text = ""
    state: _Text = ""
    message: _Text = ""
    traceparent: _Text = ""
    url: _Text = ""


def parse(body: bytes) -> Notification:
    """Return the event of an automation as one firing alert, which is never resolved.

    Raises:
        InvalidBodyError: the body does not have the form of `TEMPLATE`.
    """
    webhook = request_bodies.read(_Webhook, body)
    labels = {
        "flow": webhook.flow, "deployment": webhook.deployment, "run": webhook.name, "pipeline": _pipeline(webhook),
    }  # fmt: skip
    url = clean_url(webhook.url)
    alert = Alert(
        key=f"prefect/{webhook.event_id}",
        status="firing",
        name=clean(webhook.automation or webhook.event, 120),
        severity=webhook.severity,
        summary=_summary(webhook),
        since=normalize_timestamp(webhook.occurred),
        trace_id=_trace_id(webhook),
        labels={name: clean(value, 120) for name, value in labels.items() if value},
        links=(Link("run", url),) if url else (),
    )
    return Notification(f"prefect/{clean(webhook.automation or webhook.event)}", (alert,))


def _summary(webhook: _Webhook) -> str:
    subject = webhook.name or webhook.resource
    state = webhook.state or webhook.event
    return clean(f"{subject}: {state}. {webhook.message}" if webhook.message else f"{subject}: {state}")


def _pipeline(webhook: _Webhook) -> str:
    """Return the pipeline of the run, empty if it is about none or several."""
    names = {tag.removeprefix(pipeline_folders.TAG) for tag in webhook.tags if tag.startswith(pipeline_folders.TAG)}
    return names.pop() if len(names) == 1 else ""


def _trace_id(webhook: _Webhook) -> str:
    try:
        return trace_context.from_traceparent(webhook.traceparent)
    except AiWorkflowError:
        return trace_context.trace_id_of_run(webhook.flow_run_id) if webhook.flow_run_id else ""
