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


def test_news_are_told_and_what_was_told_is_not() -> None:
    delivery_log = DeliveryLog(300)
    delivery_log.record("chat", notification("a"))
    assert names(delivery_log.undelivered("chat", notification("a", "b"))) == ["b"]
    assert names(delivery_log.undelivered("chat", notification("a"))) == []
    assert names(delivery_log.undelivered("chat", notification("a", status="resolved"))) == ["a"]
    assert names(delivery_log.undelivered("other", notification("a"))) == ["a"]


def test_the_same_is_a_retry_at_first_and_a_reminder_later() -> None:
    clock = Clock()
    delivery_log = DeliveryLog(300, clock)
    delivery_log.record("chat", notification("a", "b"))
    clock.now = 300
    assert names(delivery_log.undelivered("chat", notification("a", "b"))) == []
    clock.now = 301
    assert names(delivery_log.undelivered("chat", notification("a", "b"))) == ["a", "b"]


def test_as_long_as_another_channel_lacks_it_the_same_is_a_retry_but_not_for_ever() -> None:
    clock = Clock()
    delivery_log = DeliveryLog(300, clock)
    delivery_log.record("chat", notification("a"))
    lacking = [("down", notification("a"))]
    clock.now = 3600
    assert names(delivery_log.undelivered("chat", notification("a"), lacking)) == []
    clock.now = 3601
    assert names(delivery_log.undelivered("chat", notification("a"), lacking)) == ["a"]


@pytest.mark.parametrize("per_minute", [1, 20, 60])
def test_no_minute_sees_more_messages_than_a_bot_may_send(per_minute: int) -> None:
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


def test_what_waits_for_its_turn_becomes_one_message() -> None:
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


def test_a_message_pending_is_waited_for_not_sent_again() -> None:
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


def test_a_vendor_that_wants_fewer_messages_is_left_alone_for_as_long_as_it_says() -> None:
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


def test_a_vendor_that_never_answers_is_given_up_and_its_channel_goes_on() -> None:
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


def test_a_plugin_that_breaks_does_not_end_its_channel() -> None:
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


def test_a_channel_that_fails_for_long_keeps_no_other_from_being_told_news() -> None:
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


def test_a_channel_is_told_the_severities_it_takes_and_every_one_what_nobody_knows() -> None:
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


def test_what_the_relay_would_try_again_is_said_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        retries = RetryQueue(Delivery(Relay(), DeliveryLog(300), []), (60.0,))
        retries.schedule(notification("a"))
        await retries.close()

    asyncio.run(scene())
    assert "g did not reach every channel, and the relay stops" in caplog.text


def test_for_prefect_which_posts_once_the_relay_tries_again_itself() -> None:
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


def test_what_waits_for_a_slow_channel_becomes_messages_of_bounded_size() -> None:
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


def test_a_ledger_that_is_full_forgets_the_oldest_alerts() -> None:
    delivery_log = DeliveryLog(300)
    for first in range(0, 52_000, 1000):
        delivery_log.record("chat", notification(*(str(number) for number in range(first, first + 1000))))
    assert names(delivery_log.undelivered("chat", notification("1999", "2000"))) == ["1999"]
