"""Client connections of the service, with limits of time and number."""

from __future__ import annotations

import asyncio
from typing import Any

from ai_workflow.config.settings import Service
from ai_workflow.http_server.lingering_close import LingeringTransport
from ai_workflow.http_server.protocol import Http11Protocol

# So many of the oldest idle connections make room for new ones at once.
_EVICTED_SHARE = 20


class _Joined:
    """A transport that sends what is written in one turn of the event loop together: a response comes in two parts."""

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: LingeringTransport) -> None:
        self._soon, self._transport = loop.call_soon, transport
        self._parts: list[bytes] = []
        self.is_closing, self.abort = transport.is_closing, transport.abort

    def write(self, data: bytes) -> None:
        """Have data sent before anything else is read."""
        if not self._parts:
            self._soon(self._send)
        self._parts.append(data)

    def close(self) -> None:
        """Send what is left, and close."""
        self._send()
        self._transport.close()

    def close_now(self) -> None:
        """Send what is left, and close without waiting for the client."""
        self._send()
        self._transport.close_now()

    def _send(self) -> None:
        if self._parts:
            parts, self._parts = self._parts, []
            self._transport.write(b"".join(parts))


class Connection(Http11Protocol):
    """One client's connection; `sweep` closes those that are too slow."""

    def __init__(self, service: Service, **given: Any) -> None:
        super().__init__(**given)
        self._service = service
        self._clock = self.loop.time
        self.since = self._clock()
        self._is_receiving = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection; where there are too many, close the oldest idle ones, or refuse it."""
        super().connection_made(transport)
        self.transport = _Joined(self.loop, self.lingering)  # type: ignore[assignment]
        if len(self.connections) > self._service.max_connections and not self._make_room():
            transport.abort()

    def on_message_begin(self) -> None:
        """Note that a request begins."""
        super().on_message_begin()
        self.since = self._clock()
        self._is_receiving = True

    def on_message_complete(self) -> None:
        """Note that it has been received."""
        if not self.parser.should_upgrade():
            self._is_receiving = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Note since when nothing is going on."""
        self.since = self._clock()
        super().on_response_complete()

    @property
    def is_idle(self) -> bool:
        """Whether no request is being received or answered."""
        if self.lingering.is_lingering:
            return True
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
