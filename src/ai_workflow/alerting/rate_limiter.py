"""How fast a channel may be written to: half of a minute's messages at once, the rest one by one."""

from __future__ import annotations

import asyncio


class Pace:
    """A token bucket that no minute of any clock sees more than `per_minute` messages of.

    It holds half of them and refills the other half in a minute: 20 are 10 at once, then one each 6 seconds.
    """

    def __init__(self, per_minute: int) -> None:
        self._size = max(1.0, per_minute / 2)
        self._per_second = per_minute / 2 / 60
        self._tokens = self._size
        self._at = 0.0
        self._not_before = 0.0

    async def wait(self) -> None:
        """Return when the next message may go."""
        loop = asyncio.get_running_loop()
        while (delay := self.delay(loop.time())) > 0:
            await asyncio.sleep(delay)
        self._tokens -= 1

    def delay(self, now: float) -> float:
        """Return the seconds until the next message may go."""
        if self._at:
            self._tokens = min(self._size, self._tokens + (now - self._at) * self._per_second)
        self._at = now
        lacking = max(0.0, 1 - self._tokens) / self._per_second
        return max(lacking, self._not_before - now)

    def pause(self, seconds: float) -> None:
        """Hold all messages back for a time that the vendor named; a longer one that runs already stays."""
        self._not_before = max(self._not_before, asyncio.get_running_loop().time() + seconds)
