"""Request bodies of ASGI applications, read with a size limit."""

from __future__ import annotations

from typing import Any

from starlette.requests import ClientDisconnect


class BodyTooLargeError(Exception):
    """A request body exceeds its limit."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"the body is larger than {max_bytes} bytes")


class BufferFullError(Exception):
    """The bodies that are being received exceed the limit of their buffer."""


class ReceiveBuffer:
    """Limit of the bytes of all bodies that are being received, without the first part of each.

    Args:
        max_bytes: the limit.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._used_bytes = 0

    def reserve(self, size: int) -> None:
        """Add the size of a part.

        Raises:
            BufferFullError: the limit is exceeded.
        """
        self._used_bytes += size
        if self._used_bytes > self._max_bytes:
            raise BufferFullError

    def release(self, size: int) -> None:
        """Subtract the size of a body that is complete or was rejected."""
        self._used_bytes -= size


async def read(
    receive: Any, max_bytes: int, content_length: bytes | str | None = None, buffer: ReceiveBuffer | None = None
) -> bytes:
    """Return the body of a request.

    Args:
        receive: the `receive` of ASGI.
        max_bytes: the limit of the body.
        content_length: the header; a body that is too long by it is rejected before it is read.
        buffer: the limit that all requests share.

    Raises:
        BodyTooLargeError: the body exceeds `max_bytes`.
        BufferFullError: all bodies together exceed the limit of `buffer`.
        ClientDisconnect: the client disconnected before the end of the body.
    """
    if content_length is not None and int(content_length) > max_bytes:
        raise BodyTooLargeError(max_bytes)
    parts: list[bytes] = []
    size = 0
    reserved = 0
    try:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            part: bytes = message.get("body", b"")
            size += len(part)
            if buffer is not None and parts:
                reserved += len(part)
                buffer.reserve(len(part))
            if size > max_bytes:
                raise BodyTooLargeError(max_bytes)
            if not message.get("more_body", False):
                return b"".join([*parts, part]) if parts else part
            parts.append(part)
    finally:
        if reserved and buffer is not None:
            buffer.release(reserved)
