"""A vendor that wants no message for a time is sent none before it is over, and what it refused is sent later."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
import requests

from ai_workflow.alerting.channels import vendor_delays
from ai_workflow.alerting.channels.channel import RateLimitedError
from ai_workflow.alerting.channels.factory import create_backend
from ai_workflow.alerting.delivery_log import DeliveryLog
from ai_workflow.alerting.messages.notification import Alert, Notification, Status
from ai_workflow.alerting.outbox import Outbox
from ai_workflow.config.settings import Channel
from tests.monitoring.relay.fake_vendors import Vendors
from tests.monitoring.relay.test_chat_vendors import NOTICE, send, trusted  # noqa: F401 - a fixture
from tests.monitoring.relay.vendor_protocols import SAYS_NO

NOW = datetime(2025, 1, 15, 10, tzinfo=UTC)
DATES = {"date": format_datetime(NOW, usegmt=True)}


def at(seconds: float) -> str:
    return format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"retry-after": "30"}, b"rate_limited", 30.0),
        ({"retry-after": "0.75"}, b"", 0.75),
        ({"retry-after": at(90), **DATES}, b"", 90.0),
        ({"retry-after": at(-90), **DATES}, b"", 0.0),
        ({"x-ratelimit-reset-after": "7.5"}, b"", 7.5),
        ({"retry-after": "2"}, b'{"retry_after": 20.5, "global": false}', 20.5),
        ({}, b'{"ok": false, "parameters": {"retry_after": 35}}', 35.0),
        ({}, b'{"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 2500}', 2.5),
        ({"retry-after": "9" * 400}, b"", 3600.0),
        ({}, b'{"retry_after": 1e300}', 3600.0),
        ({"retry-after": "soon"}, b"[1]", None),
        ({"retry-after": "nan"}, b'{"retry_after": true, "parameters": 7}', None),
        ({"retry-after": "-5"}, b'{"retry_after": null}', None),
        ({}, b"", None),
    ],
)
def test_retry_delay_is_parsed_from_vendor_response(
    headers: dict[str, str], body: bytes, seconds: float | None
) -> None:
    assert vendor_delays.seconds(headers, body) == seconds


ANSWERS: list[tuple[str, int, dict[str, str], bytes, float]] = [
    ("slack", 429, {"retry-after": "30"}, b"rate_limited", 30.0),
    ("slack", 503, {"retry-after": "12"}, b"", 12.0),
    ("discord", 429, {"retry-after": "21"}, b'{"retry_after": 20.5}', 21.0),
    ("discord", 429, {"x-ratelimit-reset-after": "3.25"}, b"", 3.25),
    ("telegram", 429, {}, b'{"ok": false, "parameters": {"retry_after": 35}}', 35.0),
    ("teams", 429, {"retry-after": "17"}, b"", 17.0),
    ("webhook", 429, {"retry-after": "45"}, b"", 45.0),
    ("dingtalk", 429, {"retry-after": "90"}, b"", 90.0),
    ("dingtalk", 200, {}, b'{"errcode": 130101, "errmsg": "send too fast"}', 600.0),
    ("feishu", 429, {"x-ogw-ratelimit-reset": "25"}, b'{"code": 99991400}', 25.0),
    ("feishu", 200, {"retry-after": "75"}, b'{"code": 11232, "msg": "frequency limited"}', 75.0),
    ("wecom", 200, {}, b'{"errcode": 45009, "errmsg": "api freq out of limit"}', 60.0),
    ("wecom", 429, {}, b"", vendor_delays.DEFAULT_SECONDS),
]


@pytest.mark.integration
@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(("kind", "status", "headers", "body", "seconds"), ANSWERS)
def test_every_vendor_rate_limit_error_has_retry_delay(
    vendors: Vendors, monkeypatch: pytest.MonkeyPatch,
    kind: str, status: int, headers: dict[str, str], body: bytes, seconds: float,
) -> None:  # fmt: skip
    vendors.faults[kind] = "throttle"
    monkeypatch.setitem(SAYS_NO[kind], "throttle", (status, headers, body))
    with pytest.raises(RateLimitedError) as refused:
        send(vendors.channel(kind))
    assert refused.value.seconds == seconds


@pytest.mark.integration
def test_retry_after_http_date_is_parsed(vendors: Vendors, monkeypatch: pytest.MonkeyPatch) -> None:
    vendors.faults["webhook"] = "throttle"
    until = format_datetime(datetime.now(UTC) + timedelta(seconds=1800), usegmt=True)
    monkeypatch.setitem(SAYS_NO["webhook"], "throttle", (429, {"retry-after": until}, b""))
    with pytest.raises(RateLimitedError) as refused:
        send(vendors.channel("webhook"))
    assert 1000 < refused.value.seconds <= 1800


@pytest.mark.integration
def test_apprise_rate_limit_error_has_retry_delay(vendors: Vendors, monkeypatch: pytest.MonkeyPatch) -> None:
    vendors.faults["webhook"] = "throttle"
    monkeypatch.setitem(SAYS_NO["webhook"], "throttle", (429, {"retry-after": "40"}, b""))
    with pytest.raises(RateLimitedError) as refused:
        send({"name": "any", "kind": "apprise", "url": f"json://127.0.0.1:{vendors.port}/hook?room=7"})
    assert refused.value.seconds == 40.0


@pytest.mark.integration
def test_apprise_plugin_immediate_retry_is_suppressed(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str | None] = []

    def throttled(_: requests.Session, request: requests.PreparedRequest, **__: Any) -> requests.Response:
        sent.append(request.url)
        answer = requests.Response()
        answer.status_code, answer._content = 429, json.dumps({"retry_after": 20.5}).encode()
        return answer

    monkeypatch.setattr(requests.Session, "send", throttled)
    vendor = create_backend(
        Channel.model_validate({"name": "any", "kind": "apprise", "url": f"discord://4711/{'t' * 64}"})
    )
    with pytest.raises(RateLimitedError) as refused:
        asyncio.run(vendor.send(NOTICE))
    assert (refused.value.seconds, len(sent)) == (20.5, 1)


@pytest.mark.integration
def test_exhausted_rate_limit_window_in_success_response_sets_delay(
    vendors: Vendors, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendors.faults["discord"] = "throttle"
    headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset-after": "1.5"}
    monkeypatch.setitem(SAYS_NO["discord"], "throttle", (204, headers, b""))
    vendor = create_backend(Channel.model_validate(vendors.channel("discord")))
    assert asyncio.run(vendor.send(NOTICE)) == 1.5
    monkeypatch.setitem(SAYS_NO["discord"], "throttle", (204, headers | {"x-ratelimit-remaining": "3"}, b""))
    vendor = create_backend(Channel.model_validate(vendors.channel("discord")))
    assert asyncio.run(vendor.send(NOTICE)) == 0.0


class Limited:
    """A vendor that refuses its first messages as too many.

    Args:
        waits: the seconds that it names, message by message.
        after: the seconds that it names with a success.
    """

    def __init__(self, *waits: float, after: float = 0.0) -> None:
        self._waits, self._after = list(waits), after
        self.tried: list[float] = []
        self.got: list[list[str]] = []
        self.statuses: list[list[str]] = []

    async def send(self, notification: Notification) -> float:
        self.tried.append(asyncio.get_running_loop().time())
        if self._waits:
            raise RateLimitedError("slower", self._waits.pop(0))
        self.got.append([alert.name for alert in notification.alerts])
        self.statuses.append([alert.status for alert in notification.alerts])
        return self._after

    async def close(self) -> None:
        """Do nothing."""


def notification(name: str, status: Status = "firing") -> Notification:
    return Notification("g", (Alert(f"g/{name}", status, name, "page"),))


def box(vendor: Limited) -> Outbox:
    return Outbox(
        Channel.model_validate(
            {"name": "limited", "kind": "slack", "url": "https://x/services/T/B/x", "per_minute": 6000}
        ),
        vendor,
        DeliveryLog(300),
    )


@pytest.mark.integration
def test_rate_limited_message_is_sent_later_without_new_request() -> None:
    async def scene() -> None:
        vendor = Limited(0.3, 0.2)
        outbox = box(vendor)
        assert "slower" in await outbox.deliver(notification("a"), 30)
        assert "slower" in await outbox.deliver(notification("b"), 30)
        assert await outbox.deliver(notification("a"), 30) == ""
        assert vendor.got == [["a", "b"]]
        first, second, third = vendor.tried
        assert second - first >= 0.3
        assert third - second >= 0.2
        await outbox.close()

    asyncio.run(scene())


@pytest.mark.integration
@pytest.mark.parametrize("count", [1, 2, 3])
def test_rate_limited_alert_is_sent_with_latest_status(count: int) -> None:
    statuses: list[Status] = ["firing", "resolved", "firing", "resolved"]

    async def scene() -> None:
        vendor = Limited(0.2)
        outbox = box(vendor)
        assert "slower" in await outbox.deliver(notification("a", statuses[0]), 30)
        tasks = []
        for status in statuses[1 : count + 1]:
            tasks.append(asyncio.create_task(outbox.deliver(notification("a", status), 30)))
            await asyncio.sleep(0)
        assert await asyncio.gather(*tasks) == [""] * count
        assert vendor.statuses == [[statuses[count]]]
        await outbox.close()

    asyncio.run(scene())


def test_status_received_during_rejection_replaces_older_status() -> None:
    async def scene() -> None:
        asked, gate = asyncio.Event(), asyncio.Event()

        class Slow(Limited):
            async def send(self, notification: Notification) -> float:
                asked.set()
                await gate.wait()
                return await super().send(notification)

        vendor = Slow(0.1)
        outbox = box(vendor)
        first = asyncio.create_task(outbox.deliver(notification("a"), 30))
        await asked.wait()
        second = asyncio.create_task(outbox.deliver(notification("a", "resolved"), 30))
        await asyncio.sleep(0)
        gate.set()
        assert "slower" in await first
        assert await second == ""
        assert vendor.statuses == [["resolved"]]
        await outbox.close()

    asyncio.run(scene())


@pytest.mark.integration
def test_exhausted_window_delays_next_message() -> None:
    async def scene() -> None:
        vendor = Limited(after=0.3)
        outbox = box(vendor)
        assert await outbox.deliver(notification("a"), 30) == ""
        assert await outbox.deliver(notification("b"), 30) == ""
        assert vendor.tried[1] - vendor.tried[0] >= 0.3
        await outbox.close()

    asyncio.run(scene())


@pytest.mark.integration
def test_shorter_pause_does_not_shorten_longer_pause() -> None:
    async def scene() -> None:
        vendor = Limited()
        outbox = box(vendor)
        now = asyncio.get_running_loop().time()
        outbox._rate_limiter.pause(0.3)
        outbox._rate_limiter.pause(0.01)
        assert await outbox.deliver(notification("a"), 30) == ""
        assert vendor.tried[0] - now >= 0.3
        await outbox.close()

    asyncio.run(scene())
