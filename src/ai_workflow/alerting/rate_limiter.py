"""Token-bucket rate limiter of a channel."""

from __future__ import annotations

import asyncio


class RateLimiter:
    """Token bucket that allows at most `per_minute` messages within any 60 seconds.

    The bucket holds half of them and the other half is refilled within a minute. With a limit of 20, 10 messages may
    be sent at once and one more every 6 seconds.
    """

    def __init__(self, per_minute: int) -> None:
        self._capacity = max(1.0, per_minute / 2)
        self._per_second = per_minute / 2 / 60
        self._tokens = self._capacity
        self._updated = 0.0
        self._not_before = 0.0

    async def wait(self) -> None:
        """Wait until the next message may be sent."""
        loop = asyncio.get_running_loop()
        while (delay := self.delay(loop.time())) > 0:
            await asyncio.sleep(delay)
        self._tokens -= 1

    def delay(self, now: float) -> float:
        """Return the seconds until the next message may be sent."""
        if self._updated:
            self._tokens = min(self._capacity, self._tokens + (now - self._updated) * self._per_second)
        self._updated = now
        refill_seconds = max(0.0, 1 - self._tokens) / self._per_second
        return max(refill_seconds, self._not_before - now)

    def pause(self, seconds: float) -> None:
        """Delay all messages by this time, unless a longer pause is active."""
        self._not_before = max(self._not_before, asyncio.get_running_loop().time() + seconds)
