"""Client connections with the limits that uvicorn lacks: time to send a request, size of its head, how many."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from ai_workflow.settings import Service

Header = tuple[bytes, bytes]
CLOSE = (b"connection", b"close")
# The ASGI extension that sends a response at once: takes its status, headers and body.
WHOLE = "ai_workflow.whole_response"
_MOST_HEAD_BYTES = 64 << 10
# So many of the oldest idle connections make room for new ones at once.
_EVICTED_SHARE = 20
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Connection(HttpToolsProtocol):
    """One client's connection; `sweep` closes those that are too slow."""

    def __init__(self, service: Service, **given: Any) -> None:
        super().__init__(**given)
        self._service = service
        self._clock = self.loop.time
        self.since = self._clock()
        self._is_receiving, self._in_head, self._head_bytes = False, False, 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection; where there are too many, the oldest idle ones make room, or it is refused."""
        super().connection_made(transport)
        if len(self.connections) > self._service.max_connections and not self._make_room():
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take data; a head that does not end is refused."""
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > _MOST_HEAD_BYTES:
                self.transport.write(_TOO_LARGE)
                self.transport.close()
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Note that a request begins."""
        super().on_message_begin()
        self.since, self._is_receiving, self._in_head, self._head_bytes = self._clock(), True, True, 0

    def on_headers_complete(self) -> None:
        """Note that its head has ended; offer the application to send its response in one piece."""
        self._in_head = False
        super().on_headers_complete()
        self.scope["extensions"] = {WHOLE: partial(self._respond, self.cycle)}  # type: ignore[dict-item]

    def on_message_complete(self) -> None:
        """Note that it has been received."""
        self._is_receiving = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Note since when nothing is going on."""
        self.since = self._clock()
        super().on_response_complete()

    async def _respond(self, cycle: RequestResponseCycle, status: int, headers: Sequence[Header], body: bytes) -> None:
        """Send a whole response, as uvicorn does in two steps; those take a tenth of what a request costs."""
        if self.flow.write_paused and not cycle.disconnected:
            await self.flow.drain()
        if cycle.disconnected:
            return
        head = [STATUS_LINE[status], b"content-length: %d\r\n" % len(body)]
        for name, value in headers:
            head += (name, b": ", value, b"\r\n")
        if CLOSE in headers:
            cycle.keep_alive = False
        elif not cycle.keep_alive:
            head.append(b"connection: close\r\n")
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        self.transport.write(b"".join((*head, b"\r\n", body)))
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()

    @property
    def is_idle(self) -> bool:
        """Whether no request is being received or answered."""
        return not self._is_receiving and (self.cycle is None or self.cycle.response_complete)

    def is_too_slow(self, now: float) -> bool:
        """Say whether the client has been silent, or sending, for too long."""
        if self.is_idle and self.cycle is not None:
            return now - self.since > self._service.idle_seconds
        is_waited_for = self._is_receiving or self.cycle is None
        return is_waited_for and now - self.since > self._service.read_seconds

    def _make_room(self) -> bool:
        others: list[Any] = [each for each in self.connections if each is not self]
        idle = sorted((each for each in others if each.is_idle), key=_since)
        for each in idle[: max(1, self._service.max_connections // _EVICTED_SHARE)]:
            each.transport.abort()
            self.connections.discard(each)
        return bool(idle)


def _since(connection: Any) -> float:
    return float(connection.since)


def sweep(connections: set[Any], now: float) -> int:
    """Close the connections that are too slow, and return how many they were."""
    slow = [each for each in connections if each.is_too_slow(now)]
    for each in slow:
        each.transport.abort()
    return len(slow)
