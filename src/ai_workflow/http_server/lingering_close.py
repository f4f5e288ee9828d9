"""Lingering close of HTTP connections, as RFC 9112 section 9.6 describes it.

The kernel resets a connection that is closed with unread input, and the reset may destroy the response before the
client reads it. A lingering close sends the end of the response, discards what the client still sends, and closes
once the client does, or at a limit of bytes and time.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any

MAX_BYTES = 16 << 20
MAX_SECONDS = 5.0
_CHUNK_BYTES = 64 << 10


class LingeringTransport:
    """A transport whose `close` lingers.

    Args:
        loop: the event loop of the connection.
        transport: the connection.
        closing: called once, when `close` begins to linger.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, closing: Callable[[], None]
    ) -> None:
        self.transport, self._loop, self._closing = transport, loop, closing
        self._timer: asyncio.TimerHandle | None = None
        self._discarded = 0
        self.is_lingering = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)

    def is_closing(self) -> bool:
        """Return whether the connection accepts no more data to send."""
        return self.is_lingering or self.transport.is_closing()

    def write(self, data: bytes) -> None:
        """Send data; nothing is sent once the connection is being closed."""
        if not self.is_closing():
            self.transport.write(data)

    def close(self) -> None:
        """Send buffered data and the end of the stream, then discard input until the client closes or a limit."""
        if self.is_closing():
            return
        self.is_lingering = True
        self.transport.write_eof()
        # Flow control may have paused it.
        self.transport.resume_reading()
        self._timer = self._loop.call_later(MAX_SECONDS, self._expired)
        self._closing()

    def close_now(self) -> None:
        """Close without waiting for the client."""
        self.stop()
        self.transport.close()

    def discard(self, count: int) -> None:
        """Count discarded input, and close at the limit."""
        self._discarded += count
        if self._discarded > MAX_BYTES:
            self.close_now()

    def stop(self) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expired(self) -> None:
        # The response is not truncated if the client has not received all of it.
        if self.transport.get_write_buffer_size():
            self._timer = self._loop.call_later(MAX_SECONDS, self._expired)
        else:
            self.close_now()


def close(connection: socket.socket) -> None:
    """Close a blocking socket after its response; blocks until the client closes or a limit."""
    deadline, left = time.monotonic() + MAX_SECONDS, MAX_BYTES
    try:
        connection.shutdown(socket.SHUT_WR)
        while left > 0 and (seconds := deadline - time.monotonic()) > 0:
            connection.settimeout(seconds)
            received = len(connection.recv(_CHUNK_BYTES))
            if not received:
                break
            left -= received
    except OSError:
        pass
    finally:
        connection.close()
