"""Breaches become events of a real Prefect server, its automations reach chat, and channels may be its blocks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from prefect import flow, get_client
from prefect.blocks.webhook import Webhook
from prefect.events.schemas.events import Event
from prefect.states import Failed

from ai_workflow.alerting import alertmanager_webhook, prefect_webhook
from ai_workflow.alerting.events import EventEmitter
from ai_workflow.local.server import Server
from ai_workflow.provisioning.blocks.chat_channel import ChatChannel
from ai_workflow.telemetry import metrics, trace_context
from tests import prefect_retry
from tests.monitoring.relay.fake_vendors import WEBHOOK_TOKEN, Vendors
from tests.monitoring.relay.running_relay import TOKEN, RunningRelay, alert, until, webhook
from tests.patience import PATIENCE

NOBODY = "http://127.0.0.1:9/api"


def emitted(server: Server, slo: str) -> list[dict[str, Any]]:
    """Return the events of an SLO that the server knows, the oldest first."""
    # Other tests of the session may have sent more events than a page has.
    of_slo = {"labels": {"ai-workflow.slo": slo}}
    wanted = {"event": {"prefix": ["ai-workflow.slo."]}, "resource": of_slo, "order": "ASC"}
    answer = prefect_retry.client(server.api_url).post("/events/filter", json={"filter": wanted, "limit": 50})
    found: list[dict[str, Any]] = answer.raise_for_status().json()["events"]
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_breach_and_resolution_are_sent_as_prefect_events(
    folder: Path, vendors: Vendors, prefect_server: Server
) -> None:
    labels = {"slo": "accuracy-42", "pipeline": "credit"}
    ChatChannel(kind="webhook", url=vendors.url("webhook"), secret=WEBHOOK_TOKEN).save(  # type: ignore[arg-type]
        "on-call", overwrite=True
    )
    with RunningRelay(folder, [{"name": "from-block", "block": "on-call"}]) as relay:
        assert relay.post(alert(**labels)).json()["delivered"] == ["from-block"]
        relay.post(alert("f2", **labels), group="other")
        until(lambda: len(emitted(prefect_server, "accuracy-42")) == 1)
        relay.post(alert("f2", "resolved", **labels), group="other")
        relay.post(alert(status="resolved", **labels))
        until(lambda: len(emitted(prefect_server, "accuracy-42")) == 2)

        breached, resolved = emitted(prefect_server, "accuracy-42")
        assert relay.metric("slo_events_total", result="emitted") == 2
        assert WEBHOOK_TOKEN not in "".join(relay.log)
    assert breached["event"] == "ai-workflow.slo.breached"
    assert breached["resource"] == {
        "prefect.resource.id": "ai-workflow.slo.accuracy-42.credit.model_v2.3",
        "prefect.resource.name": "accuracy-42 of credit model_v2.3",
        "ai-workflow.slo": "accuracy-42",
        "ai-workflow.pipeline": "credit",
        "ai-workflow.model_version": "model_v2.3",
        "ai-workflow.severity": "page",
        "ai-workflow.environment": "development",
        "ai-workflow.project": "ai-workflow",
    }
    assert breached["payload"]["value"] == "0.0213"
    assert resolved["event"] == "ai-workflow.slo.resolved"
    assert resolved["payload"]["until"] == "2025-01-15T10:12:00+00:00"


@pytest.mark.slow
def test_prefect_outage_does_not_block_chat_delivery(folder: Path, vendors: Vendors) -> None:
    with RunningRelay(folder, [vendors.channel("slack")], PREFECT_API_URL=NOBODY) as relay:
        assert relay.post(alert()).json() == {"delivered": ["slack"], "failed": {}}


@pytest.mark.integration
def test_failed_prefect_event_is_counted_and_retried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    failed = metrics.get("slo_events_total").labels("failed")
    notification = alertmanager_webhook.parse(orjson.dumps(webhook(alert())))

    async def scene() -> None:
        events = EventEmitter(retry_delays=(0.0,))
        for _ in range(2):
            before = failed._value.get()
            events.publish(notification)
            await _until(lambda before=before: failed._value.get() == before + 1)  # type: ignore[misc]
        await events.close()

    with temporary_settings({PREFECT_API_URL: NOBODY}):
        asyncio.run(scene())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_prefect_automation_notifications_reach_chat(folder: Path, vendors: Vendors, prefect_server: Server) -> None:
    def told(name: str) -> list[str]:
        return [text for text in vendors.texts("slack") if name in text]

    of_credit = vendors.channel("discord") | {"pipelines": ["credit"]}
    with RunningRelay(folder, [vendors.channel("slack"), of_credit]) as relay:
        block = Webhook(
            url=f"http://127.0.0.1:{relay.port}/prefect",
            headers={"authorization": f"Bearer {TOKEN}"},  # type: ignore[arg-type]
        )
        block_id = str(block.save("relay-of-a-test", overwrite=True))
        of_flow = {"prefect.resource.role": "flow", "prefect.resource.name": "fails-for-the-relay"}
        automate(prefect_server, block_id, "A disk was moved", expect=["test.disk.moved"])
        automate(prefect_server, block_id, "A run failed", expect=["prefect.flow-run.Failed"], match_related=of_flow)
        # The server knows of new automations a moment later.
        while not told("A disk was moved"):
            emit(prefect_server)
            time.sleep(1)
        run_id = asyncio.run(fail())
        until(lambda: bool(told("A run failed") and vendors.texts("discord")))

    assert 'thing "with" quotes' in told("A disk was moved")[0]
    (failed,) = told("A run failed")
    assert 'sad-run: Failed. trainer: "out of memory", line 2' in failed
    assert trace_context.short(trace_context.trace_id_of_run(run_id)) in failed
    assert f"/runs/flow-run/{run_id}|Prefect run>" in failed
    (of_pipeline,) = vendors.texts("discord")
    assert "sad-run" in of_pipeline


def automate(server: Server, block_id: str, name: str, **trigger: Any) -> None:
    """Have events posted to the relay, with the template that the relay documents."""
    given = {"type": "event", "posture": "Reactive", "threshold": 1, "within": 0, **trigger}
    action = {"type": "call-webhook", "block_document_id": block_id, "payload": prefect_webhook.TEMPLATE}
    automation = {"name": name, "enabled": True, "trigger": given, "actions": [action]}
    prefect_retry.client(server.api_url).post("/automations/", json=automation).raise_for_status()


def emit(server: Server) -> None:
    """Emit the event that the first automation waits for."""
    resource: Any = {"prefect.resource.id": "test.disk", "prefect.resource.name": 'thing "with" quotes'}
    event = Event(event="test.disk.moved", resource=resource)
    content = f"[{event.model_dump_json()}]"
    prefect_retry.client(server.api_url).post("/events", content=content).raise_for_status()


async def fail() -> str:
    """Make a flow run that fails, and return its id."""

    @flow(name="fails-for-the-relay")
    def nothing() -> None: ...

    async with get_client() as client:
        made = await client.create_flow_run(nothing, name="sad-run", tags=["kind:work", "pipeline:credit"])
        state = Failed(message='trainer: "out of memory",\nline 2')
        await client.set_flow_run_state(made.id, state, force=True)
    return str(made.id)


async def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
