"""The guard of Prometheus and Alertmanager: what it forwards unchanged, what it refuses, what it answers itself."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from ai_workflow.local.guard import GuardError, guarded
from tests import cross_origin_requests, services

BASE = "http://127.0.0.1:9093"


class Upstream:
    """A server on loopback that keeps what it receives."""

    def __init__(self) -> None:
        self.received: list[tuple[str, str, dict[str, str], bytes]] = []
        received = self.received

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                if self.headers.get("transfer-encoding") == "chunked":
                    body = b"".join(iter(self._chunk, b""))
                else:
                    body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                received.append((self.command, self.path, headers, body))
                self.send_response(304 if self.path == "/same" else 203)
                for name, value in (("X-Kept", "a"), ("X-Kept", "b"), ("Connection", "x-hop"), ("X-Hop", "1")):
                    self.send_header(name, value)
                if self.path != "/same":
                    # Says more than it sends where it is cut off.
                    self.send_header("Content-Length", str(len(body) + 7 * (self.path == "/cut")))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)
                self.close_connection = self.path == "/cut"

            do_GET = do_POST = do_DELETE = do_HEAD = do_OPTIONS = _answer  # noqa: N815

            def _chunk(self) -> bytes:
                size = int(self.rfile.readline(), 16)
                data = self.rfile.read(size)
                self.rfile.readline()
                return data

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self.server = ThreadingHTTPServer((services.LOOPBACK, 0), Handler)
        self.url = f"http://{services.LOOPBACK}:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    found = Upstream()
    yield found
    found.server.shutdown()
    found.server.server_close()


def ask(url: str, method: str = "GET", path: str = "/", **more: Any) -> httpx.Response:
    """Send one request to the guard of a server."""

    async def asking() -> httpx.Response:
        transport = httpx.ASGITransport(app=guarded(url, {}))
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
            return await client.request(method, path, **more)

    return asyncio.run(asking())


@pytest.mark.integration
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "HEAD", "OPTIONS"])
def test_request_and_response_are_forwarded_unchanged(upstream: Upstream, method: str) -> None:
    upstream.received.clear()
    body = {} if method in ("GET", "HEAD", "OPTIONS") else {"content": b'{"a": 1}'}

    answer = ask(upstream.url, method, "/api/v2/a%2Fb?filter=x%3D%22y%22&empty=", **body)

    [(was, path, headers, got)] = upstream.received
    assert (was, path) == (method, "/api/v2/a%2Fb?filter=x%3D%22y%22&empty=")
    assert headers["host"] == "127.0.0.1:9093"
    assert got == body.get("content", b"")
    assert answer.status_code == 203
    assert answer.content == (b"" if method == "HEAD" else got)
    assert answer.headers.get_list("x-kept") == ["a", "b"]
    assert answer.headers["content-security-policy"] == "frame-ancestors 'self'"


@pytest.mark.integration
def test_chunked_request_body_is_forwarded_completely(upstream: Upstream) -> None:
    async def parts() -> Any:
        for _ in range(50):
            yield b"part" * 1000

    upstream.received.clear()
    assert ask(upstream.url, "POST", content=parts()).content == b"part" * 50_000
    assert upstream.received[0][3] == b"part" * 50_000


@pytest.mark.integration
def test_response_without_body_is_forwarded(upstream: Upstream) -> None:
    assert ask(upstream.url, "GET", "/same").status_code == 304


@pytest.mark.integration
def test_hop_by_hop_headers_are_not_forwarded(upstream: Upstream) -> None:
    upstream.received.clear()
    sent = {"connection": "x-mine, authorization", "x-mine": "1", "te": "trailers", "upgrade": "h2c", "accept": "*/*"}

    answer = ask(upstream.url, headers={**sent, "authorization": "Bearer x"})

    headers = upstream.received[0][2]
    assert not {"x-mine", "te", "upgrade"} & headers.keys()
    # A client cannot have the login removed on the way.
    assert (headers["authorization"], headers["accept"]) == ("Bearer x", "*/*")
    assert "x-hop" not in answer.headers


@pytest.mark.integration
def test_operator_login_is_forwarded_as_guard_login(upstream: Upstream) -> None:
    upstream.received.clear()
    ask(upstream.url, auth=("operator", "pw"))

    sent = httpx.BasicAuth("guard", "pw")
    expected = next(sent.auth_flow(httpx.Request("GET", upstream.url))).headers["authorization"]
    assert upstream.received[0][2]["authorization"] == expected


@pytest.mark.integration
@pytest.mark.parametrize("case", cross_origin_requests.FOREIGN)
def test_cross_site_request_returns_403(upstream: Upstream, case: str) -> None:
    upstream.received.clear()

    for method in ("GET", "POST", "OPTIONS"):
        answer = ask(
            upstream.url,
            method,
            "/api/v1/silences",
            headers=cross_origin_requests.FOREIGN[case],
            auth=("operator", "pw"),
        )
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers
    assert upstream.received == []


@pytest.mark.integration
@pytest.mark.parametrize("case", cross_origin_requests.own(BASE))
def test_same_origin_pages_and_programs_are_allowed(upstream: Upstream, case: str) -> None:
    assert ask(upstream.url, headers=cross_origin_requests.own(BASE)[case]).status_code == 203


@pytest.mark.integration
def test_configured_origin_is_allowed(upstream: Upstream) -> None:
    headers = {"host": "alerts.example.com", "origin": "https://alerts.example.com"}

    async def asking() -> int:
        app = guarded(upstream.url, {"AIW_ALLOWED_ORIGINS": "https://alerts.example.com"})
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=BASE) as client:
            return (await client.get("/", headers=headers)).status_code

    assert asyncio.run(asking()) == 203


@pytest.mark.integration
def test_unreachable_upstream_returns_502_with_url() -> None:
    with socket.socket() as taken:
        taken.bind((services.LOOPBACK, 0))
        url = f"http://{services.LOOPBACK}:{taken.getsockname()[1]}"
        answer = ask(url)
        assert answer.status_code == 502
        assert answer.json()["error"].startswith(f"{url} does not answer: ")
        # The guard itself runs, and its health check does not need a login.
        assert ask(url, path="/-/guard").json() == {"status": "ok"}


@pytest.mark.integration
def test_truncated_upstream_response_is_not_completed(upstream: Upstream) -> None:
    """Nothing is sent that would end a response of which a part is missing."""
    sent: list[dict[str, Any]] = []

    async def forwarding() -> None:
        never = asyncio.Event()
        body = iter([{"type": "http.request", "body": b"1234567"}])

        async def receive() -> dict[str, Any]:
            if (part := next(body, None)) is not None:
                return part
            await never.wait()
            return {}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        headers = [(b"host", b"127.0.0.1"), (b"content-length", b"7")]
        scope = {"type": "http", "method": "POST", "path": "/cut", "raw_path": b"/cut", "query_string": b""}
        await guarded(upstream.url, {})({**scope, "headers": headers}, receive, send)

    asyncio.run(forwarding())
    assert sent[0]["status"] == 203
    assert all(message.get("more_body") for message in sent[1:])


@pytest.mark.integration
def test_client_disconnect_closes_upstream_request() -> None:
    """A stream without end is closed at the server, too."""
    with socket.create_server((services.LOOPBACK, 0)) as server:
        ended = threading.Event()

        def stream() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: 1\n\n")
                # Empty as soon as the other side has closed.
                if connection.recv(4096) == b"":
                    ended.set()

        threading.Thread(target=stream, daemon=True).start()

        async def forwarding() -> None:
            begun = asyncio.Event()

            async def receive() -> dict[str, Any]:
                await begun.wait()
                return {"type": "http.disconnect"}

            async def send(message: dict[str, Any]) -> None:
                if message.get("body"):
                    begun.set()

            scope = {"type": "http", "method": "GET", "path": "/", "raw_path": b"/", "query_string": b""}
            url = f"http://{services.LOOPBACK}:{server.getsockname()[1]}"
            await guarded(url, {})({**scope, "headers": [(b"host", b"localhost")]}, receive, send)

        asyncio.run(forwarding())
        assert ended.wait(60)


@pytest.mark.parametrize("url", ["127.0.0.1:9112", "ftp://127.0.0.1", "http://", "http://127.0.0.1/path", "http://x?y"])
def test_invalid_upstream_url_is_rejected(url: str) -> None:
    with pytest.raises(GuardError, match=r"^--upstream .*Write http://host:port$"):
        guarded(url, {})
