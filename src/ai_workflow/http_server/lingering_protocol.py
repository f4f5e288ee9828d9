"""Connections of uvicorn with a lingering close."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ai_workflow.http_server.lingering_close import MAX_BYTES, LingeringTransport


class LingeringProtocol(HttpToolsProtocol):
    """Uvicorn's connection with a lingering close; uvicorn creates it with `Config(http=LingeringProtocol)`."""

    lingering: LingeringTransport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection."""
        super().connection_made(transport)
        self.lingering = LingeringTransport(self.loop, transport, self._abort_request)
        self.transport = cast("asyncio.Transport", self.lingering)

    def connection_lost(self, exc: Exception | None) -> None:
        """Clean up after the connection."""
        self.lingering.stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse data; once the connection is being closed, discard it."""
        if self.lingering.is_lingering:
            self.lingering.discard(len(data))
        else:
            super().data_received(data)

    def handle_websocket_upgrade(self) -> None:
        """Pass the connection to the WebSocket protocol, which has its own closing handshake."""
        self.transport = self.lingering.transport
        super().handle_websocket_upgrade()

    def shutdown(self) -> None:
        """Close an idle connection at once when the server shuts down; a busy one after its response."""
        if self.lingering.is_lingering or self.cycle is None or self.cycle.response_complete:
            self._close_now()
        else:
            self.cycle.keep_alive = False

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that has been idle for too long, without lingering."""
        self._close_now()

    def on_body(self, body: bytes) -> None:
        """Receive a part of a body; after the response it is discarded, up to a bound."""
        if self.cycle.response_complete:
            self._discarded += len(body)
            if self._discarded > MAX_BYTES:
                self.transport.close()
        else:
            super().on_body(body)

    def on_message_begin(self) -> None:
        """Start the head of a request."""
        super().on_message_begin()
        self._discarded = 0

    def _close_now(self) -> None:
        if not self.transport.is_closing() or self.lingering.is_lingering:
            cast("Any", self.transport).close_now()

    def _abort_request(self) -> None:
        """End the request of a connection that is being closed, so that its application stops waiting for input."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
