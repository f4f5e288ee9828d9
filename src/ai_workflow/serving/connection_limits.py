"""Client connections of the service, with limits of time and number."""

from __future__ import annotations

import asyncio
from typing import Any

from ai_workflow.config.settings import Service
from ai_workflow.http_server.lingering_close import LingeringTransport
from ai_workflow.http_server.protocol import Http11Protocol

# One in this many of the allowed connections is evicted at once, the oldest idle ones first.
_EVICTED_FRACTION = 20


class _CoalescingTransport:
    """A transport that joins the writes of one event-loop iteration, because a response has two parts."""

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: LingeringTransport) -> None:
        self._call_soon = loop.call_soon
        self._transport = transport
        self._parts: list[bytes] = []
        self.is_closing, self.abort = transport.is_closing, transport.abort

    def write(self, data: bytes) -> None:
        """Queue data to be sent before anything else is read."""
        if not self._parts:
            self._call_soon(self._send)
        self._parts.append(data)

    def close(self) -> None:
        """Send queued data, and close."""
        self._send()
        self._transport.close()

    def close_now(self) -> None:
        """Send queued data, and close without waiting for the client."""
        self._send()
        self._transport.close_now()

    def _send(self) -> None:
        if self._parts:
            parts, self._parts = self._parts, []
            self._transport.write(b"".join(parts))


class Connection(Http11Protocol):
    """A client connection; `sweep` closes slow and idle ones."""

    def __init__(self, service: Service, **options: Any) -> None:
        super().__init__(**options)
        self._service = service
        self._clock = self.loop.time
        self.state_since = self._clock()
        self._is_receiving = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection; beyond the limit evict the oldest idle ones, or else reject it."""
        super().connection_made(transport)
        self.transport = _CoalescingTransport(self.loop, self.lingering)  # type: ignore[assignment]
        if len(self.connections) > self._service.max_connections and not self._evict_idle():
            transport.abort()

    def on_message_begin(self) -> None:
        """Record the start of a request."""
        super().on_message_begin()
        self.state_since = self._clock()
        self._is_receiving = True

    def on_message_complete(self) -> None:
        """Record the end of a request."""
        if not self.parser.should_upgrade():
            self._is_receiving = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Record the start of an idle period."""
        self.state_since = self._clock()
        super().on_response_complete()

    @property
    def is_idle(self) -> bool:
        """Whether no request is being received or answered."""
        if self.lingering.is_lingering:
            return True
        return not self._is_receiving and (self.cycle is None or self.cycle.response_complete)

    def is_too_slow(self, now: float) -> bool:
        """Return whether the client has been idle or sending for too long."""
        if self.is_idle and self.cycle is not None:
            return now - self.state_since > self._service.idle_seconds
        is_awaited = self._is_receiving or self.cycle is None
        return is_awaited and now - self.state_since > self._service.read_seconds

    def _evict_idle(self) -> bool:
        others: list[Any] = [each for each in self.connections if each is not self]
        idle = sorted((each for each in others if each.is_idle), key=_since)
        for each in idle[: max(1, self._service.max_connections // _EVICTED_FRACTION)]:
            each.transport.abort()
            self.connections.discard(each)
        return bool(idle)


def _since(connection: Any) -> float:
    return float(connection.state_since)


def sweep(connections: set[Any], now: float) -> int:
    """Close slow and idle connections, and return their number."""
    slow = [each for each in connections if each.is_too_slow(now)]
    for each in slow:
        each.transport.abort()
    return len(slow)
