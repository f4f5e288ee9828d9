"""Channels of a pipeline: they receive its alerts only, and no alert is lost."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from ai_workflow.alerting import alertmanager_webhook, prefect_webhook
from ai_workflow.alerting.channels.channel import ChatBackend
from ai_workflow.alerting.delivery import Delivery, DeliveryResult
from ai_workflow.alerting.delivery_log import DeliveryLog
from ai_workflow.alerting.messages.notification import Notification
from ai_workflow.alerting.outbox import Outbox
from ai_workflow.config.settings.chat import Channel, Relay
from tests.monitoring.relay.running_relay import alert, webhook

pytestmark = pytest.mark.unit


class Vendor(ChatBackend):
    """Accepts every message."""

    async def send(self, notification: Notification) -> None:
        """Accept it."""

    async def close(self) -> None:
        """Nothing is open."""


def delivered(notification: Notification, **channels: dict[str, Any]) -> DeliveryResult:
    """Return the result of a delivery to channels with these settings."""

    async def deliver() -> DeliveryResult:
        delivery_log = DeliveryLog(300)
        delivery = Delivery(
            Relay(), delivery_log,
            [
                Outbox(
                    Channel.model_validate({"name": name, "kind": "webhook", "url": "http://127.0.0.1:9/x", **given}),
                    Vendor(), delivery_log,
                )
                for name, given in channels.items()
            ],
        )  # fmt: skip
        result = await delivery.deliver(notification)
        await delivery.close()
        return result

    return asyncio.run(deliver())


def of_alertmanager(**labels: str) -> Notification:
    return alertmanager_webhook.parse(json.dumps(webhook(alert(**labels))).encode())


def of_prefect(**more: object) -> Notification:
    body = {
        "event": "prefect.flow-run.Failed", "event_id": "1", "occurred": "2026-11-29T00:00:00Z", "flow": "training",
        "name": "training credit 7f0be543", **more,
    }  # fmt: skip
    return prefect_webhook.parse(json.dumps(body).encode())


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"pipeline": "credit"}, ("all", "credit")),
        ({"pipeline": "sales"}, ("all", "sales")),
        ({"pipeline": "other"}, ("all",)),
        ({"pipeline": "credit_2"}, ("all",)),
        ({}, ("all",)),
    ],
)
def test_channel_receives_alerts_of_its_pipelines(labels: dict[str, str], expected: tuple[str, ...]) -> None:
    result = delivered(
        of_alertmanager(**labels), all={}, credit={"pipelines": ["credit"]}, sales={"pipelines": ["sales", "returns"]}
    )
    assert (result.delivered, result.status) == (expected, "delivered")


def test_severities_and_pipelines_of_channel_both_apply() -> None:
    channels: dict[str, dict[str, Any]] = {"all": {}, "pages": {"pipelines": ["credit"], "severities": ["page"]}}
    assert delivered(of_alertmanager(pipeline="credit", severity="ticket"), **channels).delivered == ("all",)
    assert delivered(of_alertmanager(pipeline="credit", severity="page"), **channels).delivered == ("all", "pages")
    assert delivered(of_alertmanager(pipeline="sales", severity="other"), **channels).delivered == ("all",)


def test_alert_that_no_channel_accepts_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    result = delivered(of_alertmanager(pipeline="sales", severity="page"), credit={"pipelines": ["credit"]})
    assert (result.status, result.delivered) == ("no_channel", ())
    assert "accepts severity page of pipeline sales" in caplog.text


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (["kind:work", "pipeline:credit"], ("all", "credit")),
        (["pipeline:sales"], ("all",)),
        (["pipeline:credit", "pipeline:sales"], ("all",)),
        ([], ("all",)),
        (None, ("all",)),
        ("pipeline:credit", ("all",)),
        ([7, {"pipeline:credit": 1}], ("all",)),
    ],
)
def test_prefect_webhook_reaches_channel_of_the_pipeline_in_its_tags(tags: object, expected: tuple[str, ...]) -> None:
    assert delivered(of_prefect(tags=tags), all={}, credit={"pipelines": ["credit"]}).delivered == expected


def test_webhook_of_an_older_template_without_tags_is_read() -> None:
    assert delivered(of_prefect(), all={}, credit={"pipelines": ["credit"]}).delivered == ("all",)
