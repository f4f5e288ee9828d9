"""HTTP/1.1 connections of the service and the relay: upgrade offers are ignored, heads and pipelines are bounded.

A request that offers another protocol (`Upgrade: h2c`, the default of some HTTP clients) is answered over HTTP/1.1, as
RFC 9110 section 7.8 allows. The parser would take its body for data of the other protocol, so the head is parsed
again without the offer.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from ai_workflow.http_server.lingering_protocol import LingeringProtocol

MAX_HEAD_BYTES = 64 << 10
MAX_HEADERS = 128
# The colon, the space and the line end of a header.
_HEADER_EXTRA_BYTES = 4
# Limit of input per call of the parser, so that the limits also hold within one packet.
_PIECE_BYTES = 16 << 10
_OFFERS = frozenset((b"upgrade", b"http2-settings"))
# Headers that must not be repeated: proxies and servers could disagree on which value counts.
_SINGLE = frozenset(
    (b"authorization", b"content-encoding", b"content-type", b"host", b"inference-header-content-length")
)
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_MALFORMED = "Invalid HTTP request received."


class _HeadTooLargeError(Exception):
    """The head of a request has too many headers."""


class _RepeatedHeaderError(Exception):
    """A header that must be unique is repeated; the argument is its name."""


class _FlowControl(FlowControl):
    """Flow control that pauses reading while pipelined requests wait."""

    is_blocked = False

    def resume_reading(self) -> None:
        """Resume reading, unless pipelined requests wait."""
        if not self.is_blocked:
            super().resume_reading()


class Http11Protocol(LingeringProtocol):
    """One connection; uvicorn creates it with `Config(http=Http11Protocol)`."""

    flow: _FlowControl

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._is_in_head, self._is_refused = False, False
        self._head_bytes = 0
        self._headers_bytes = 0
        # The request in progress; later ones wait in `pipeline`.
        self._current: RequestResponseCycle | None = None
        # Received bytes that are parsed after the responses to earlier requests.
        self._unparsed = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection."""
        super().connection_made(transport)
        self.flow = _FlowControl(transport)

    def data_received(self, data: bytes) -> None:
        """Parse data; data behind pipelined requests is kept until their responses are complete."""
        if self.lingering.is_lingering:
            self.lingering.discard(len(data))
            return
        if self._is_refused:
            return
        if self._unparsed:
            self._unparsed += data
            return
        self._unset_keepalive_if_required()
        self._feed(data)

    def on_message_begin(self) -> None:
        """Start the head of a request."""
        super().on_message_begin()
        self._is_in_head, self._head_bytes, self._headers_bytes = True, 0, 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header; trailers of a chunked body are ignored.

        Raises:
            _HeadTooLargeError: the head has too many headers or bytes.
        """
        if not self._is_in_head:
            return
        self._headers_bytes += len(name) + len(value) + _HEADER_EXTRA_BYTES
        if len(self.headers) >= MAX_HEADERS or self._headers_bytes + len(self.url) > MAX_HEAD_BYTES:
            raise _HeadTooLargeError
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the request, unless its head is to be parsed again without the offer of another protocol.

        Raises:
            _RepeatedHeaderError: a header that must be unique is repeated.
        """
        if self.parser.should_upgrade():
            return
        names = [name for name, _ in self.headers]
        if len(set(names)) < len(names) and (repeated := [name for name in _SINGLE if names.count(name) > 1]):
            raise _RepeatedHeaderError(repeated[0].decode())
        self._is_in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Finish receiving the request."""
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Start the next pipelined request; parse kept data once no request waits."""
        super().on_response_complete()
        if not self.pipeline:
            self.flow.is_blocked = False
            if self._unparsed:
                self.loop.call_soon(self._feed_unparsed)
            else:
                self.flow.resume_reading()

    def _feed_unparsed(self) -> None:
        unparsed, self._unparsed = self._unparsed, b""
        if unparsed and not self._is_refused and not self.transport.is_closing():
            self._feed(unparsed)
        if not self.pipeline:
            self.flow.resume_reading()

    def _feed(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest and self.parser is not None and not self._is_refused:
            if self.pipeline:
                self._unparsed = bytes(rest)
                break
            piece = rest[:_PIECE_BYTES]
            if self._is_in_head:
                self._head_bytes += len(piece)
                if self._head_bytes > MAX_HEAD_BYTES:
                    self._refuse(_TOO_LARGE)
                    return
            rest = rest[self._parse(piece) :]
        if self.pipeline:
            self.flow.is_blocked = True
            self.flow.pause_reading()

    def _parse(self, piece: memoryview) -> int:
        """Return the number of bytes that the parser consumed."""
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade as error:
            self._parse_without_offer()
            return int(error.args[0])
        except httptools.HttpParserError as error:
            self._refuse_for(error)
        return len(piece)

    def _parse_without_offer(self) -> None:
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        if method == b"CONNECT":  # always another protocol
            self._refuse()
            return
        headers = [b"%b: %b\r\n" % header for header in self.headers if header[0] not in _OFFERS]
        head = b"%b %b HTTP/%b\r\n%b\r\n" % (method, self.url, version, b"".join(headers))
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        try:
            self.parser.feed_data(head)
        except httptools.HttpParserError as error:
            self._refuse_for(error)

    def _refuse_for(self, error: Exception) -> None:
        cause = error.__context__
        if isinstance(cause, _HeadTooLargeError):
            self._refuse(_TOO_LARGE)
        else:
            self._refuse(
                problem=f"Header '{cause}' is repeated." if isinstance(cause, _RepeatedHeaderError) else _MALFORMED
            )

    def _refuse(self, response: bytes | None = None, problem: str = _MALFORMED) -> None:
        """Reject malformed input and close; responses to earlier requests of the connection come first."""
        self._is_refused = True
        if not self._is_in_head and self.pipeline:
            # The body of this request is malformed: it gets no response.
            self.pipeline.popleft()
        last = self.pipeline[0][0] if self.pipeline else self._current
        is_in_progress = last is not None and not last.response_complete
        if (
            last is not None
            and is_in_progress
            and (self._is_in_head or last is not self.cycle or last.response_started)
        ):
            last.keep_alive = False
        elif response is None:
            self.send_400_response(problem)
        else:
            self.transport.write(response)
            self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._current = cycle
        super()._start_asgi_task(cycle, app)
