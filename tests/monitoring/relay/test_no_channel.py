"""Alerts that no channel takes: never counted as delivered, never a retry storm."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from ai_workflow.alerting import routing
from ai_workflow.alerting.app import RelayApp
from ai_workflow.alerting.channels.channel import ChatBackend
from ai_workflow.alerting.delivery import Delivery
from ai_workflow.alerting.delivery_log import DeliveryLog
from ai_workflow.alerting.messages.notification import Notification
from ai_workflow.alerting.outbox import Outbox
from ai_workflow.alerting.retries import RetryQueue
from ai_workflow.config.settings.chat import Channel, Relay
from ai_workflow.http_server.origin_check import Origins
from ai_workflow.telemetry import metrics
from tests.monitoring.relay.fake_vendors import Vendors
from tests.monitoring.relay.running_relay import RunningRelay, alert, until, webhook


class Taking(ChatBackend):
    """A vendor that takes everything."""

    async def send(self, notification: Notification) -> None:
        """Take it."""

    async def close(self) -> None:
        """Nothing is open."""


def posted(severities: list[list[str]], path: str, *alerts: dict[str, Any]) -> httpx.Response:
    """Return the answer of a relay with a channel for each list of severities, named c0, c1, ..."""

    async def scene() -> httpx.Response:
        delivery_log = DeliveryLog(300)
        boxes = []
        for number, taken in enumerate(severities):
            settings = {"name": f"c{number}", "kind": "webhook", "url": "http://127.0.0.1:9/hook", "severities": taken}
            boxes.append(Outbox(Channel.model_validate(settings), Taking(), delivery_log))
        delivery = Delivery(Relay(), delivery_log, boxes)
        app = RelayApp(Relay(), None, delivery, RetryQueue(delivery), None, Origins()).app()
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
            answer = await client.post(path, json=webhook(*alerts))
        await delivery.close()
        return answer

    return asyncio.run(scene())


def counted(result: str) -> float:
    value: float = metrics.get("alert_webhook_total").labels("alertmanager", result)._value.get()
    return value


@pytest.mark.parametrize("path", ["/alertmanager", "/alertmanager/on-call"])
@pytest.mark.parametrize("severity", ["page", "ticket", "chat", "other"])
def test_alert_without_channels_is_not_delivered_or_retried(path: str, severity: str) -> None:
    before = {result: counted(result) for result in ("delivered", "no_channel", "failed")}
    answer = posted([], path, alert(severity=severity))
    assert answer.status_code == 422
    assert answer.json()["result"] == "no_channel"
    assert "Add one to chat" in answer.json()["error"]
    assert counted("no_channel") == before["no_channel"] + 1
    assert (counted("delivered"), counted("failed")) == (before["delivered"], before["failed"])


def test_severity_without_channel_returns_422() -> None:
    before = counted("no_channel")
    answer = posted([["page"], ["ticket"]], "/alertmanager", alert(severity="chat"))
    assert (answer.status_code, answer.json()["delivered"]) == (422, [])
    assert counted("no_channel") == before + 1


def test_partially_routed_group_is_delivered_and_counted() -> None:
    before = counted("no_channel")
    answer = posted(
        [["page"]], "/alertmanager", alert(severity="page"), alert("f2", alertname="Other", severity="chat")
    )
    assert (answer.status_code, answer.json()["delivered"], answer.json()["no_channel"]) == (200, ["c0"], ["Other"])
    assert counted("no_channel") == before + 1


def test_alert_for_other_channel_is_not_failure() -> None:
    before = counted("delivered")
    answer = posted([["page"], ["ticket"]], "/alertmanager/c0", alert(severity="ticket"))
    assert (answer.status_code, answer.json()) == (200, {"delivered": [], "failed": {}})
    assert counted("delivered") == before + 1


def test_channels_missing_in_slo_or_chat_config_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    class Spec:
        channels = ("on-call", "team")

    monkeypatch.setattr(routing.reader, "load", Spec)
    lacking, unnamed = routing.problems(["team", "night"])
    assert "names 'on-call', which chat lacks" in lacking
    assert "'night'" in unnamed
    Spec.channels = ()
    assert list(routing.problems(["team"])) == []


@pytest.mark.slow
def test_relay_uses_chat_section_of_pipeline_file(folder: Path, vendors: Vendors) -> None:
    with RunningRelay(folder, [vendors.channel("slack")], in_pipeline=True) as relay:
        assert relay.post(alert()).json() == {"delivered": ["slack"], "failed": {}}
        assert relay.http.post("/alertmanager", headers={"authorization": "Bearer no"}).status_code == 401


@pytest.mark.slow
def test_relay_without_channels_logs_warning_at_start(folder: Path) -> None:
    with RunningRelay(folder, []) as relay:
        until(lambda: any("no channel is configured in chat" in line for line in relay.log))
        assert relay.post(alert()).status_code == 422
        assert relay.metric("alert_webhook_total", source="alertmanager", result="no_channel") == 1
