"""A connection closed with unread input: the client receives the whole response, and is cut at a bound."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import re
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ai_workflow.exporter import metrics_server
from ai_workflow.http_server import lingering_close
from ai_workflow.http_server.origin_check import OriginGuard, Origins
from tests.serving.running_service import Running
from tests.serving.test_connections import LAST, head, request, statuses

pytestmark = pytest.mark.integration

# More than the socket buffers of both ends hold, below the bound of a lingering close.
LARGE = 8 << 20
CLOSE = b"Connection: close\r\n"
HEAD = b"Content-Length: %d\r\n\r\n" % LARGE
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % LARGE
REFUSED = {
    "no such route": (head(b"POST", b"/nowhere", CLOSE) + HEAD, 404),
    "no such route, chunked": (head(b"POST", b"/nowhere", CLOSE) + CHUNKED, 404),
    "a method that the route lacks": (head(b"POST", b"/v2/health/live", CLOSE) + HEAD, 405),
    "a body that is too large": (head(b"POST", b"/predict") + HEAD, 413),
    "a body that is too large, chunked": (head(b"POST", b"/predict") + CHUNKED, 413),
    "labels that are too large": (head(b"POST", b"/labels") + HEAD, 413),
    "an encoded body": (head(b"POST", b"/predict", b"Content-Encoding: gzip\r\n") + HEAD, 415),
    "a head that is too large": (head(b"POST", b"/predict", b"x: y\r\n" * 5000) + HEAD, 431),
    "a repeated header": (head(b"POST", b"/predict", b"Host: other\r\n") + HEAD, 400),
    "a malformed request": (b"no request\r\n\r\n", 400),
}


def answer(port: int, *packets: bytes) -> bytes:
    """Return all that a server sends; a reset fails the test."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        for packet in packets:
            client.sendall(packet)
        received = b""
        while piece := client.recv(1 << 16):
            received += piece
    return received


def is_whole(response: bytes) -> bool:
    """Return whether a response has the body that its head announces."""
    head, _, body = response.partition(b"\r\n\r\n")
    found = re.search(rb"(?i)content-length: (\d+)", head)
    return found is not None and int(found[1]) == len(body)


@pytest.mark.slow
@pytest.mark.parametrize("kind", REFUSED)
def test_rejected_large_upload_receives_complete_response(shared: Running, kind: str) -> None:
    asked, status = REFUSED[kind]
    response = answer(shared.port, asked, b"x" * LARGE)
    assert response.startswith(b"HTTP/1.1 %d " % status)
    assert is_whole(response)
    assert statuses(shared, LAST) == [200]


@pytest.mark.slow
def test_valid_request_before_malformed_request_is_answered(shared: Running) -> None:
    whole = request(b"GET", b"/v2/health/live", b"")
    malformed = head(b"POST", b"/predict", b"Transfer-Encoding: chunked\r\n") + b"\r\nno chunk\r\n"
    response = answer(shared.port, whole + malformed + b"x" * LARGE)
    assert response.startswith(b"HTTP/1.1 200 ")
    assert b'{"live":true}' in response


def sent_until_cut(port: int, asked: bytes) -> int:
    """Return how many bytes a client sends that never stops and never reads."""
    sent, piece = 0, b"x" * (1 << 20)
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(asked)
        try:
            while sent < 40 * lingering_close.MAX_BYTES:
                sent += client.send(piece)
        except ConnectionError:
            return sent
    return sent


@pytest.mark.slow
@pytest.mark.parametrize("more", [CLOSE, b""])
def test_endless_upload_is_cut_at_byte_limit(shared: Running, more: bytes) -> None:
    asked = head(b"POST", b"/nowhere", more) + b"Content-Length: %d\r\n\r\n" % (1 << 40)
    assert sent_until_cut(shared.port, asked) < 10 * lingering_close.MAX_BYTES
    assert statuses(shared, LAST) == [200]


def test_lingering_connection_is_closed_after_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lingering_close, "MAX_SECONDS", 0.05)

    async def work() -> None:
        loop, closing = asyncio.get_running_loop(), asyncio.Event()
        ours, theirs = socket.socketpair()
        lost: asyncio.Future[None] = loop.create_future()

        class Connection(asyncio.Protocol):
            def connection_lost(self, _: Exception | None) -> None:
                lost.set_result(None)

        transport, _ = await loop.create_connection(Connection, sock=ours)
        kept = lingering_close.LingeringTransport(loop, transport, closing.set)
        kept.write(b"response")
        kept.close()
        kept.close()
        kept.write(b"never sent")
        assert closing.is_set()
        assert kept.is_closing()
        assert not lost.done()
        await lost
        with theirs:
            assert theirs.makefile("rb").read() == b"response"

    asyncio.run(asyncio.wait_for(work(), 60))


def test_blocking_close_discards_input_up_to_byte_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lingering_close, "MAX_BYTES", 1 << 20)
    ours, theirs = socket.socketpair()
    closing = threading.Thread(target=lingering_close.close, args=(ours,))
    closing.start()
    sent = 0
    with theirs, contextlib.suppress(ConnectionError):
        theirs.settimeout(60)
        while sent < 1 << 30:
            sent += theirs.send(b"x" * 65_536)
    closing.join()
    assert (1 << 20) <= sent < (1 << 24)


@pytest.fixture
def exporter() -> Iterator[int]:
    """A server of the exporter's kind that reads no body."""

    def app(_: Any, start: Callable[..., Any]) -> list[bytes]:
        start("200 OK", [("content-length", "2")])
        return [b"ok"]

    server = metrics_server.listen("127.0.0.1", 0, app)
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_exporter_sends_complete_response_to_large_upload(exporter: int) -> None:
    assert is_whole(answer(exporter, head(b"POST", b"/metrics") + HEAD, b"x" * LARGE))
    assert sent_until_cut(exporter, head(b"POST", b"/metrics") + HEAD) < 10 * lingering_close.MAX_BYTES


def test_origin_guard_sends_complete_403_to_large_upload() -> None:
    import uvicorn

    from ai_workflow.http_server.lingering_protocol import LingeringProtocol

    async def app(*_: Any) -> None:
        raise AssertionError("the guard refuses the request")

    async def work() -> None:
        config = uvicorn.Config(OriginGuard(app, Origins()), http=LingeringProtocol, lifespan="off", port=0,
                                log_config=None)  # fmt: skip
        server = uvicorn.Server(config)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            running = asyncio.create_task(server.serve(sockets=[listening]))
            asked = b"POST /api/flows HTTP/1.1\r\nHost: elsewhere.example\r\n" + CLOSE + HEAD
            response = await asyncio.to_thread(answer, port, asked, b"x" * LARGE)
            server.should_exit = True
            await running
        assert response.startswith(b"HTTP/1.1 403 ")
        assert is_whole(response)

    asyncio.run(asyncio.wait_for(work(), 100))


@pytest.mark.slow
def test_client_sending_full_body_first_receives_413(shared: Running) -> None:
    client = http.client.HTTPConnection("127.0.0.1", shared.port, timeout=60)
    client.request("POST", "/predict", b"x" * LARGE)
    response = client.getresponse()
    assert response.status == 413
    assert b"service.max_body_bytes" in response.read()
    client.close()


def test_websocket_works_with_lingering_protocol() -> None:
    import uvicorn
    from websockets.sync.client import connect

    from ai_workflow.http_server.lingering_protocol import LingeringProtocol

    async def app(_: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})

    def echo(port: int) -> str:
        with connect(f"ws://127.0.0.1:{port}/") as client:
            client.send("event")
            return str(client.recv(timeout=60))

    async def work() -> None:
        config = uvicorn.Config(OriginGuard(app, Origins()), http=LingeringProtocol, lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            running = asyncio.create_task(server.serve(sockets=[listening]))
            assert await asyncio.to_thread(echo, listening.getsockname()[1]) == "event"
            server.should_exit = True
            await running

    asyncio.run(asyncio.wait_for(work(), 100))
