"""Who is told what and when: news at once, retries to those that missed it, reminders, and no more than a bot may."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from ai_workflow.alerting.channels.channel import DeliveryError, RateLimitedError
from ai_workflow.alerting.delivery import Delivery, DeliveryResult
from ai_workflow.alerting.delivery_log import DeliveryLog
from ai_workflow.alerting.messages.notification import Alert, Notification
from ai_workflow.alerting.outbox import Outbox
from ai_workflow.alerting.rate_limiter import RateLimiter
from ai_workflow.alerting.retries import RetryQueue
from ai_workflow.config.settings import Channel, Relay


def notification(*names: str, status: str = "firing", severity: str = "page") -> Notification:
    return Notification("g", tuple(Alert(f"g/{name}", status, name, severity) for name in names))  # type: ignore[arg-type]


def names(told: Notification) -> list[str]:
    return [alert.name for alert in told.alerts]


@dataclass
class Clock:
    now: float = 0

    def __call__(self) -> float:
        return self.now


@dataclass
class Vendor:
    """A vendor that does what it is told to before it takes a message."""

    before: Callable[[], Awaitable[None]] | None = None
    got: list[list[str]] = field(default_factory=list)

    async def send(self, notification: Notification) -> None:
        if self.before is not None:
            await self.before()
        self.got.append(names(notification))

    async def close(self) -> None:
        """Nothing to let go of."""


def channel(name: str, **more: object) -> Channel:
    given = {"name": name, "kind": "wecom", "url": "https://x/send?key=k", "per_minute": 6000}
    return Channel.model_validate({**given, **more})


def test_delivered_alert_is_not_sent_again() -> None:
    delivery_log = DeliveryLog(300)
    delivery_log.record("chat", notification("a"))
    assert names(delivery_log.undelivered("chat", notification("a", "b"))) == ["b"]
    assert names(delivery_log.undelivered("chat", notification("a"))) == []
    assert names(delivery_log.undelivered("chat", notification("a", status="resolved"))) == ["a"]
    assert names(delivery_log.undelivered("other", notification("a"))) == ["a"]


def test_repeated_alert_becomes_reminder_after_retry_window() -> None:
    clock = Clock()
    delivery_log = DeliveryLog(300, clock)
    delivery_log.record("chat", notification("a", "b"))
    clock.now = 300
    assert names(delivery_log.undelivered("chat", notification("a", "b"))) == []
    clock.now = 301
    assert names(delivery_log.undelivered("chat", notification("a", "b"))) == ["a", "b"]


def test_repeat_is_retry_for_an_hour_if_other_channel_fails() -> None:
    clock = Clock()
    delivery_log = DeliveryLog(300, clock)
    delivery_log.record("chat", notification("a"))
    lacking = [("down", notification("a"))]
    clock.now = 3600
    assert names(delivery_log.undelivered("chat", notification("a"), lacking)) == []
    clock.now = 3601
    assert names(delivery_log.undelivered("chat", notification("a"), lacking)) == ["a"]


@pytest.mark.parametrize("per_minute", [1, 20, 60])
def test_rate_limiter_never_exceeds_messages_per_minute(per_minute: int) -> None:
    pace, now, sent = RateLimiter(per_minute), 1000.0, []
    while now < 1300:
        wait = pace.delay(now)
        if wait <= 1e-9:
            pace._tokens -= 1
            sent.append(now)
        else:
            now += wait
    assert len(sent) >= 4 * per_minute / 2
    assert all(sum(start <= one < start + 60 for one in sent) <= per_minute for start in sent)


def test_queued_notifications_are_merged_into_single_message() -> None:
    async def scene() -> None:
        gate = asyncio.Event()
        vendor = Vendor(lambda: _wait(gate))
        box = Outbox(channel("merges"), vendor, DeliveryLog(300))
        tasks = [asyncio.create_task(box.deliver(notification(name), 30)) for name in "abcdef"]
        while not any(box._pending):
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        tasks.append(asyncio.create_task(box.deliver(notification("g"), 30)))
        await asyncio.sleep(0)
        gate.set()
        assert await asyncio.gather(*tasks) == [""] * 7
        assert sorted(itertools.chain(*vendor.got)) == list("abcdefg")
        assert len(vendor.got) == 2
        await box.close()

    asyncio.run(scene())


def test_pending_notification_is_not_sent_twice() -> None:
    async def scene() -> None:
        gate = asyncio.Event()
        vendor = Vendor(lambda: _wait(gate))
        box = Outbox(channel("joins"), vendor, DeliveryLog(300))
        assert await box.deliver(notification("a"), 0.01) == "still waiting to be sent"
        again = asyncio.create_task(box.deliver(notification("a"), 30))
        await asyncio.sleep(0)
        gate.set()
        assert await again == ""
        assert vendor.got == [["a"]]
        await box.close()

    asyncio.run(scene())


@pytest.mark.integration
def test_rate_limited_vendor_is_paused_for_requested_time() -> None:
    async def scene() -> None:
        loop, tried = asyncio.get_running_loop(), []

        async def before() -> None:
            tried.append(loop.time())
            if len(tried) == 1:
                raise RateLimitedError("slower", 0.3)

        box = Outbox(channel("throttled"), Vendor(before), DeliveryLog(300))
        assert "slower" in await box.deliver(notification("a"), 30)
        assert await box.deliver(notification("a"), 30) == ""
        assert tried[1] - tried[0] >= 0.3
        await box.close()

    asyncio.run(scene())


def test_hung_vendor_times_out_and_channel_continues() -> None:
    async def scene() -> None:
        never = asyncio.Event()
        vendor = Vendor(lambda: _wait(never))
        hasty = channel("hangs").model_copy(update={"timeout_seconds": 0.05})
        box = Outbox(hasty, vendor, DeliveryLog(300))
        assert await box.deliver(notification("a"), 30) == "no response within 0.05 s"
        never.set()
        assert await box.deliver(notification("a"), 30) == ""
        await box.close()

    asyncio.run(scene())


def test_plugin_exception_does_not_stop_channel() -> None:
    async def scene() -> None:
        async def before() -> None:
            if not vendor.got and len(broken) < 2:
                broken.append(1)
                raise (ZeroDivisionError if len(broken) == 1 else DeliveryError)("no")

        broken: list[int] = []
        vendor = Vendor(before)
        box = Outbox(channel("breaks"), vendor, DeliveryLog(300))
        assert await box.deliver(notification("a"), 30) == "ZeroDivisionError"
        assert await box.deliver(notification("a"), 30) == "no"
        assert await box.deliver(notification("a"), 30) == ""
        await box.close()

    asyncio.run(scene())


def test_failing_channel_does_not_block_other_channels() -> None:
    async def scene() -> None:
        async def never() -> None:
            raise DeliveryError("down")

        delivery_log, good = DeliveryLog(300), Vendor()
        boxes = [Outbox(channel("good"), good, delivery_log), Outbox(channel("bad"), Vendor(never), delivery_log)]
        delivery = Delivery(Relay(), delivery_log, boxes)
        for _ in range(3):
            outcome = await delivery.deliver(notification("a"))
            assert (outcome.delivered, outcome.failed) == (("good",), {"bad": "down"})
        await delivery.deliver(notification("a", "b"))
        await delivery.deliver(notification("a", "b", status="resolved"))
        assert good.got == [["a"], ["b"], ["a", "b"]]
        await delivery.close()

    asyncio.run(scene())


def test_channels_receive_configured_and_unknown_severities() -> None:
    async def scene() -> None:
        delivery_log, pages, tickets = DeliveryLog(300), Vendor(), Vendor()
        boxes = [
            Outbox(channel("pages", severities=["page"]), pages, delivery_log),
            Outbox(channel("tickets", severities=["ticket"]), tickets, delivery_log),
        ]
        delivery = Delivery(Relay(), delivery_log, boxes)
        both = Notification("g", notification("p").alerts + notification("t", severity="ticket").alerts)
        assert (await delivery.deliver(both)).delivered == ("pages", "tickets")
        assert await delivery.deliver(notification("c", severity="chat")) == DeliveryResult((), {}, ("c",))
        assert (await delivery.deliver(notification("u", severity="sev1"))).delivered == ("pages", "tickets")
        assert (pages.got, tickets.got) == ([["p"], ["u"]], [["t"], ["u"]])
        await delivery.close()

    asyncio.run(scene())


def test_pending_retries_are_logged_at_shutdown(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        retries = RetryQueue(Delivery(Relay(), DeliveryLog(300), []), (60.0,))
        retries.schedule(notification("a"))
        await retries.close()

    asyncio.run(scene())
    assert "g did not reach every channel, and the relay stops" in caplog.text


def test_relay_retries_failed_prefect_notifications() -> None:
    async def scene() -> None:
        tries: list[int] = []

        async def before() -> None:
            tries.append(1)
            if len(tries) < 3:
                raise DeliveryError("down")
            told.set()

        told, delivery_log, vendor, other = asyncio.Event(), DeliveryLog(300), Vendor(before), Vendor()
        boxes = [Outbox(channel("late"), vendor, delivery_log), Outbox(channel("at-once"), other, delivery_log)]
        delivery = Delivery(Relay(), delivery_log, boxes)
        retries = RetryQueue(delivery, (0.0, 0.0, 0.0))
        assert (await delivery.deliver(notification("a"))).failed == {"late": "down"}
        retries.schedule(notification("a"))
        await asyncio.wait_for(told.wait(), 30)
        await asyncio.gather(*retries._tasks)
        assert (vendor.got, other.got, len(tries)) == ([["a"]], [["a"]], 3)
        await delivery.close()

    asyncio.run(scene())


async def _wait(gate: asyncio.Event) -> None:
    await gate.wait()


def test_merged_messages_have_bounded_size() -> None:
    async def work() -> None:
        free = asyncio.Event()
        vendor = Vendor(free.wait)
        box = Outbox(channel("slow"), vendor, DeliveryLog(300))
        notifications = [notification(*(f"{batch}-{number}" for number in range(400))) for batch in range(6)]
        waiting = [asyncio.create_task(box.deliver(each, 60)) for each in (notification("first"), *notifications)]
        while not box._pending or len(box._pending) < 2401:
            await asyncio.sleep(0)
        free.set()
        assert [await each for each in waiting] == [""] * 7
        assert max(len(told) for told in vendor.got) <= 1000
        assert len(vendor.got) <= 4
        assert sorted(itertools.chain(*vendor.got)) == sorted(["first", *itertools.chain(*map(names, notifications))])
        await box.close()

    asyncio.run(asyncio.wait_for(work(), 60))


@pytest.mark.integration
def test_full_delivery_log_evicts_oldest_alerts() -> None:
    delivery_log = DeliveryLog(300)
    for first in range(0, 52_000, 1000):
        delivery_log.record("chat", notification(*(str(number) for number in range(first, first + 1000))))
    assert names(delivery_log.undelivered("chat", notification("1999", "2000"))) == ["1999"]
