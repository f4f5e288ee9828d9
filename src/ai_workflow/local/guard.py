"""`python -m ai_workflow.local.guard`: Host and Origin checks in front of Prometheus or Alertmanager.

Alertmanager lets pages of every site read alerts and add silences, and neither of the two checks `Host`. A login alone
does not prevent that: after an operator has logged in, the browser sends the login with forms of other sites.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpx
import uvicorn
from cyclopts import App

from ai_workflow import json_text
from ai_workflow.errors import AiWorkflowError
from ai_workflow.http_server.origin_check import OriginGuard, Origins
from ai_workflow.http_server.protocol import Http11Protocol
from ai_workflow.local import login
from ai_workflow.local.health import GUARD_PATH
from ai_workflow.runtime import command_line
from ai_workflow.telemetry import logs

CONNECT_SECONDS = 5.0
# Longer than the longest query of Prometheus (--query.timeout is 2 minutes).
READ_SECONDS = 300.0
MAX_CONNECTIONS = 200
# RFC 9110, section 7.6.1: headers of one connection, not of the request. The guard answers `expect` itself.
_HOP_BY_HOP = frozenset((
    b"connection", b"expect", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
    b"trailer", b"transfer-encoding", b"upgrade",
))  # fmt: skip
_Headers = list[tuple[bytes, bytes]]

app = App(name="python -m ai_workflow.local.guard", help=__doc__, version_flags=[])


class GuardError(AiWorkflowError):
    """The guard cannot be started."""


class Proxy:
    """ASGI application that forwards each request to one server.

    Args:
        upstream: its URL, without a path.
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = httpx.URL(upstream)
        # A client would use proxies of the environment, keep cookies and add headers; the transport does not.
        limits = httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=20, keepalive_expiry=5)
        self._transport = httpx.AsyncHTTPTransport(trust_env=False, limits=limits)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Forward a request; `GUARD_PATH` is answered here."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
        elif scope["path"] == GUARD_PATH:
            await _answer(send, 200, {"status": "ok"})
        else:
            await self._forward(scope, receive, send)

    async def _forward(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            response = await self._transport.handle_async_request(self._request(scope, receive))
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            reason = f"{self._upstream} does not answer: {str(error) or type(error).__name__}. Start it or read its log"
            await _answer(send, 502, {"error": reason})
            return
        try:
            await _send_back(response, receive, send)
        finally:
            await response.aclose()

    def _request(self, scope: Any, receive: Any) -> httpx.Request:
        headers = [
            (name, login.inner(value) if name == b"authorization" else value)
            for name, value in _end_to_end(scope["headers"])
        ]
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        names = {name for name, _ in scope["headers"]}
        has_body = bool(names & {b"content-length", b"transfer-encoding"})
        timeout = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
        # httpx sends `target` unchanged and takes only host and port from the URL.
        return httpx.Request(
            scope["method"], self._upstream, headers=headers, content=_body(receive) if has_body else None,
            extensions={"target": target, "timeout": timeout.as_dict()},
        )  # fmt: skip


async def _send_back(response: httpx.Response, receive: Any, send: Any) -> None:
    """Stream a response; stop when the client disconnects."""
    headers = _end_to_end([(name.lower(), value) for name, value in response.headers.raw])
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})

    async def until_gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(until_gone)
        # A truncated response is not completed, so that the client detects it.
        with contextlib.suppress(httpx.HTTPError):
            async for chunk in response.aiter_raw():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        group.cancel_scope.cancel()


async def _body(receive: Any) -> AsyncIterator[bytes]:
    """Yield the body of a request as it is received.

    Raises:
        httpx.ReadError: the client has disconnected, so that the request is incomplete.
    """
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise httpx.ReadError("the client has closed the connection")
        yield message.get("body", b"")
        more = message.get("more_body", False)


def _end_to_end(headers: _Headers) -> _Headers:
    """Return headers without the hop-by-hop headers."""
    listed = {
        name.strip().lower() for key, value in headers if key == b"connection" for name in value.split(b",")
    } - {b"authorization", b"host", b"content-length"}  # fmt: skip
    return [(name, value) for name, value in headers if name not in _HOP_BY_HOP | listed]


async def _answer(send: Any, status: int, content: dict[str, str]) -> None:
    body = json_text.line(content).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@app.default
def serve(*, upstream: str, host: str = "127.0.0.1", port: int) -> None:
    """Forward requests to a server, and reject those of pages of other sites.

    Args:
        upstream: URL of the server, such as http://127.0.0.1:9111.
        host: Address to listen on.
        port: Port to listen on.

    Raises:
        AiWorkflowError: `AIW_ALLOWED_ORIGINS` or `upstream` is invalid.
    """
    application = guarded(upstream, os.environ)
    logs.capture_all_output()
    logging.getLogger("httpx").setLevel(logging.WARNING)
    uvicorn.run(
        application, host=host, port=port, http=Http11Protocol, ws="none", lifespan="off", log_config=None,
        access_log=False, server_header=False, date_header=False, limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=5,
    )  # fmt: skip


def guarded(upstream: str, variables: Mapping[str, str]) -> OriginGuard:
    """Return the application that guards a server.

    Raises:
        GuardError: `upstream` is not the URL of a server.
        OriginError: an entry of `AIW_ALLOWED_ORIGINS` is not an origin.
    """
    parts = urlsplit(upstream)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise GuardError(f"--upstream {upstream!r}: it is not the URL of a server. Write http://host:port")
    return OriginGuard(Proxy(upstream), Origins.of(variables), forbid_frames=True)


def main() -> int:
    """Run the command line; errors are printed as one message without a traceback."""
    return command_line.exit_code(lambda: app(result_action="return_value"))


if __name__ == "__main__":
    sys.exit(main())
