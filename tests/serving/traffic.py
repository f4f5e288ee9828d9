"""Callers at a steady rate, whatever becomes of their requests, and what each of them was told, and when."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

_TIMEOUT = 5.0
# A service may close a connection that is idle for longer, at the moment of the next request.
_MAX_IDLE = 2.0
_PING = b"GET /v2/health/live HTTP/1.1\r\nhost: localhost\r\n\r\n"


@dataclass(slots=True)
class Told:
    """One request: when it was sent, in seconds of the steady clock, how long it took, and the answer."""

    sent: float
    seconds: float
    status: int
    body: dict[str, Any]

    @property
    def version(self) -> str:
        """Who answered."""
        return str(self.body.get("model_version"))


@dataclass
class Traffic:
    """Requests at a rate from the start of the context to its end, and pings beside them, which ask no model.

    Args:
        port: where the service listens.
        body: what every request asks.
        rate: requests per second.
    """

    port: int
    body: bytes
    rate: float = 200
    path: str = "/predict"
    headers: dict[str, str] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)
    pings: list[Told] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def __enter__(self) -> Traffic:
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Send no more, and wait for the answers."""
        self._over.set()
        self._thread.join(_TIMEOUT + 5)

    def since(self, moment: float) -> list[Told]:
        """Return the requests sent after a moment."""
        return [told for told in self.told if told.sent >= moment]

    def versions(self, since: float = 0.0) -> Counter[str]:
        """Return how many requests each version answered."""
        return Counter(told.version for told in self.since(since))

    def excess(self, deadline: float, since: float = 0.0, share: float = 0.99) -> float:
        """Return by how many seconds a share of the requests stayed within the deadline, at most; below 0: all did.

        What a ping took at the same time is taken off: then the machine was busy, not the service late.
        """
        late = sorted(told.seconds - self._ping_at(told) - deadline for told in self.since(since))
        return late[min(len(late) - 1, int(share * len(late)))]

    def _ping_at(self, told: Told) -> float:
        during = [
            ping.seconds
            for ping in self.pings
            if ping.sent <= told.sent + told.seconds and ping.sent + ping.seconds >= told.sent
        ]
        return max(during, default=0.0)

    async def _run(self) -> None:
        request = (
            f"POST {self.path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            f"content-length: {len(self.body)}\r\n"
            + "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
            + "\r\n"
        ).encode() + self.body
        free: list[_Connection] = []
        tasks = {asyncio.create_task(self._ping())}
        began, number = time.monotonic(), 0
        while not self._over.is_set():
            due = int((time.monotonic() - began) * self.rate) + 1
            # After a stall the machine owes some: they are not sent all at once.
            number = max(number, due - 5)
            while number < due:
                number += 1
                tasks.add(asyncio.create_task(self._one(request, free, self.told)))
            tasks = {task for task in tasks if not task.done()}
            await asyncio.sleep(max(0.0, began + number / self.rate - time.monotonic()))
        await asyncio.wait(tasks, timeout=_TIMEOUT)
        for connection in free:
            connection.close()

    async def _ping(self) -> None:
        free: list[_Connection] = []
        while not self._over.is_set():
            await self._one(_PING, free, self.pings)
            await asyncio.sleep(0.005)
        for connection in free:
            connection.close()

    async def _one(self, request: bytes, free: list[_Connection], into: list[Told]) -> None:
        sent = time.monotonic()
        try:
            connection = _reusable(free) or await _Connection.open(self.port)
            status, body, keeps = await asyncio.wait_for(connection.ask(request), _TIMEOUT)
        except (OSError, EOFError, TimeoutError, asyncio.IncompleteReadError) as error:
            self.lost.append(f"{type(error).__name__}: {error}")
            return
        into.append(Told(sent, time.monotonic() - sent, status, body))
        if keeps:
            free.append(connection)
        else:
            connection.close()


def _reusable(free: list[_Connection]) -> _Connection | None:
    """Return a connection that was idle for a short time only, and close the others."""
    while free:
        connection = free.pop()
        if connection.idle_seconds < _MAX_IDLE:
            return connection
        connection.close()
    return None


class _Connection:
    """One connection, used again and again as long as it is kept alive."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._used = time.monotonic()

    @property
    def idle_seconds(self) -> float:
        return time.monotonic() - self._used

    @classmethod
    async def open(cls, port: int) -> _Connection:
        """Connect to a port."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, request: bytes) -> tuple[int, dict[str, Any], bool]:
        """Return status, body, and whether the connection stays."""
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        size = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        body = json.loads(await self._reader.readexactly(size))
        self._used = time.monotonic()
        return int(head.split()[1]), body, b"connection: close" not in head

    def close(self) -> None:
        """Hang up."""
        self._writer.close()
