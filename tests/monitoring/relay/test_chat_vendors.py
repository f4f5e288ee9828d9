"""Each way to a vendor: what it says when it is not taken, and signatures as the vendors document them."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from ai_workflow.alerting import alertmanager_webhook
from ai_workflow.alerting.channels import dingtalk, feishu
from ai_workflow.alerting.channels.channel import DeliveryError, RateLimitedError, RejectedError
from ai_workflow.alerting.channels.factory import create_backend
from ai_workflow.alerting.messages.notification import Alert, Notification
from ai_workflow.config.settings import Channel
from tests import services
from tests.monitoring.relay.fake_vendors import KINDS, Vendors
from tests.monitoring.relay.running_relay import alert, webhook

NOTICE = alertmanager_webhook.parse(orjson.dumps(webhook(alert())))


def send(channel: dict[str, Any], notification: Notification = NOTICE) -> None:
    """Send a message to a channel."""

    async def once() -> None:
        vendor = create_backend(Channel.model_validate({"timeout_seconds": 15, **channel}))
        try:
            await vendor.send(notification)
        finally:
            await vendor.close()

    asyncio.run(once())


@pytest.fixture(autouse=True)
def trusted(monkeypatch: pytest.MonkeyPatch, folder: Any) -> None:
    """Trust the certificate of Teams."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(folder / "certificate.pem"))


@pytest.mark.integration
@pytest.mark.parametrize("kind", KINDS)
def test_rejection_rate_limit_and_outage_raise_distinct_errors(vendors: Vendors, kind: str) -> None:
    send(vendors.channel(kind))
    for fault, expected in {
        "refuse": RejectedError,
        "throttle": RateLimitedError,
        "500": DeliveryError,
        "drop": DeliveryError,
    }.items():
        vendors.faults[kind] = fault
        with pytest.raises(DeliveryError) as told:
            send(vendors.channel(kind))
        assert type(told.value) is expected, fault
        assert "0815" not in str(told.value)


@pytest.mark.integration
@pytest.mark.parametrize("kind", ["dingtalk", "feishu"])
def test_wrong_or_missing_secret_is_rejected(vendors: Vendors, kind: str) -> None:
    for secret in ("wrong-secret", None):
        channel = vendors.channel(kind) | {"secret": secret}
        with pytest.raises(RejectedError, match="sign"):
            send(channel)
    assert vendors.got == {}


def test_signatures_match_vendor_documentation() -> None:
    # Computed with `openssl dgst -sha256 -mac HMAC` over the strings that the vendors document.
    assert dingtalk.sign("1577262236757", "this is secret") == "hmPWwU+7lVdm3ZZz0r9tSfx0L4Q26jWOZr9+Gs6EZQM="
    assert feishu.sign("1599360473", "demo") == "l1N0gAcBjdwBvGm1xMjOF0XSyaLRpR7tuO5dHfhAYc8="


@pytest.mark.integration
@pytest.mark.parametrize("kind", ["wecom", "slack"])
def test_unreachable_vendor_raises_delivery_error(vendors: Vendors, kind: str) -> None:
    channel = vendors.channel(kind)
    channel["url"] = channel["url"].replace(str(vendors.port), str(services.free_port()))
    with pytest.raises(DeliveryError) as told:
        send(channel)
    assert type(told.value) is DeliveryError


@pytest.mark.integration
@pytest.mark.parametrize("kind", ["slack", "discord", "telegram"])
@pytest.mark.parametrize("count", [4, 5, 6])
def test_message_of_double_width_emoji_fits_vendor_limit(vendors: Vendors, kind: str, count: int) -> None:
    send(
        vendors.channel(kind),
        Notification("g", tuple(Alert(f"{n}", "firing", "A", summary="📉" * 600) for n in range(count))),
    )
    assert "📉📉" in vendors.texts(kind)[0]


@pytest.mark.integration
def test_apprise_url_is_usable_as_channel(vendors: Vendors) -> None:
    url = f"json://127.0.0.1:{vendors.port}/hook?room=7&+Authorization=Bearer%20webhook-token-0815&:room=7"
    vendors.faults["webhook"] = "refuse"
    with pytest.raises(RejectedError):
        send({"name": "any", "kind": "apprise", "url": url})
