"""Host and Origin checks of HTTP servers, which protect a server on loopback from pages of other sites.

A browser sends requests to 127.0.0.1 for any page that is open in it. It names the page in `Origin` and the server in
`Host`. CORS alone is not enough: it covers neither WebSockets nor DNS rebinding, where the name of the page's own
server suddenly resolves to 127.0.0.1.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ai_workflow import json_text
from ai_workflow.errors import AiWorkflowError

VARIABLE = "AIW_ALLOWED_ORIGINS"
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?")
_ORIGIN = re.compile(r"(https?)://([^/?#@\s]+)/?")
_MAX_PORT = 65535
_DEFAULT_PORTS = {"http": 80, "https": 443}
# Navigation by a link or a bookmark to a page of this server.
_NAVIGATION = (b"navigate", b"document")
_READ_METHODS = frozenset({"GET", "HEAD"})
Headers = Iterable[tuple[bytes, bytes]]


class OriginError(AiWorkflowError):
    """An entry of `AIW_ALLOWED_ORIGINS` is not an origin."""


@dataclass(frozen=True, slots=True)
class Origins:
    """The origins of a server besides its own address.

    Args:
        allowed: origins as `(scheme, host, port)`, such as those of a proxy with TLS in front of the server.
    """

    allowed: frozenset[tuple[str, str, int]] = frozenset()

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> Origins:
        """Return the origins of `AIW_ALLOWED_ORIGINS`, a comma-separated list.

        Raises:
            OriginError: an entry is not of the form scheme://host or scheme://host:port.
        """
        entries = [entry.strip() for entry in variables.get(VARIABLE, "").split(",")]
        origins = {entry: _origin(entry.lower()) for entry in entries if entry}
        for entry, origin in origins.items():
            if origin is None:
                raise OriginError(
                    f"{VARIABLE} {entry!r}: it is not an origin. Write scheme://host or scheme://host:port, such as "
                    "https://prefect.example.com, separated by commas"
                )
        return cls(frozenset(origin for origin in origins.values() if origin))

    def refusal(self, method: str, headers: Headers) -> str | None:
        """Return why a request is refused, None if it is allowed.

        IP addresses are allowed as Host, because a browser never looks them up. A request without Origin is allowed
        unless the browser says that another site made it.
        """
        names = (b"host", b"origin", b"sec-fetch-site", b"sec-fetch-mode", b"sec-fetch-dest")
        values: dict[bytes, bytes] = {}
        for name, value in headers:
            if name in names:
                if name in values:
                    return f"the request has several headers {name.decode()}. Send one"
                values[name] = value
        host = values.get(b"host", b"").decode("latin-1").lower()
        if host and not self._is_own(host):
            return f"Host {host[:200]!r}: it is not a name of this server. Add its origin to {VARIABLE} if it is one"
        if (origin := values.get(b"origin")) is not None:
            return self._foreign(origin.decode("latin-1").lower(), host)
        purpose = (values.get(b"sec-fetch-mode"), values.get(b"sec-fetch-dest"))
        navigates = method in _READ_METHODS and purpose == _NAVIGATION
        if values.get(b"sec-fetch-site") in (b"cross-site", b"same-site") and not navigates:
            return f"the request was made by a page of another site. Add its origin to {VARIABLE} if it may"
        return None

    def _is_own(self, host: str) -> bool:
        parsed = _authority(host)
        return parsed is not None and (
            parsed[0] == "localhost" or _is_address(parsed[0]) or any(parsed[0] == name for _, name, _ in self.allowed)
        )

    def _foreign(self, origin: str, host: str) -> str | None:
        parsed = _origin(origin)
        if parsed is not None:
            server = _authority(host, _DEFAULT_PORTS[parsed[0]])
            if parsed in self.allowed or (server is not None and server == parsed[1:]):
                return None
        return f"Origin {origin[:200]!r}: a page of another site made the request. Add it to {VARIABLE} if it may"


class OriginGuard:
    """ASGI middleware that refuses requests of pages of other sites with 403, WebSockets included.

    Args:
        app: the application behind it.
        origins: the origins that are allowed besides the server's own address.
        is_trusted: returns whether the headers have a valid token; such a request is not checked.
        forbid_frames: whether responses forbid other sites to embed them in a frame.
    """

    def __init__(
        self, app: Any, origins: Origins, is_trusted: Callable[[Headers], bool] | None = None, *,
        forbid_frames: bool = False,
    ) -> None:  # fmt: skip
        self._app, self._origins, self._is_trusted = app, origins, is_trusted
        self._forbid_frames = forbid_frames

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request to the application, or reject it."""
        if scope["type"] not in ("http", "websocket") or (self._is_trusted and self._is_trusted(scope["headers"])):
            await self._app(scope, receive, send)
            return
        reason = self._origins.refusal(scope.get("method", "GET"), scope["headers"])
        if reason is None:
            await self._app(scope, receive, self._unframed(send) if self._forbid_frames else send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = [(name.encode(), value.encode()) for name, value in _refusal_headers(reason)]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": _refusal_body(reason)})

    @staticmethod
    def _unframed(send: Any) -> Any:
        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", b"frame-ancestors 'self'")
                message = {**message, "headers": [*message.get("headers", ()), policy]}
            await send(message)

        return sending


def wsgi_guard(app: Any, origins: Origins) -> Any:
    """Return a WSGI application that refuses requests of pages of other sites with 403."""

    def guarded(environ: dict[str, Any], start_response: Any) -> Any:
        headers = [
            (name.removeprefix("HTTP_").replace("_", "-").lower().encode(), str(value).encode("latin-1"))
            for name, value in environ.items()
            if name.startswith("HTTP_")
        ]
        reason = origins.refusal(environ["REQUEST_METHOD"], headers)
        if reason is None:
            return app(environ, start_response)
        start_response("403 Forbidden", _refusal_headers(reason))
        return [_refusal_body(reason)]

    return guarded


def _refusal_body(reason: str) -> bytes:
    return json_text.line({"error": reason}).encode()


def _refusal_headers(reason: str) -> list[tuple[str, str]]:
    length = str(len(_refusal_body(reason)))
    return [("content-type", "application/json"), ("content-length", length)]


def _origin(text: str) -> tuple[str, str, int] | None:
    matched = _ORIGIN.fullmatch(text)
    if matched is None:
        return None
    authority = _authority(matched[2], _DEFAULT_PORTS[matched[1]])
    return None if authority is None else (matched[1], *authority)


def _authority(text: str, default_port: int = 0) -> tuple[str, int] | None:
    """Return host and port in lower case; the dot that ends a fully qualified name is dropped."""
    matched = _HOST.fullmatch(text)
    if matched is None or int(matched[2] or 0) > _MAX_PORT:
        return None
    return matched[1].removesuffix("."), int(matched[2] or default_port)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
