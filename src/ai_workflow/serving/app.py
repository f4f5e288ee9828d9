"""The ASGI application: lets requests in, or not, and has them answered; by hand, as every microsecond counts."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import re
from typing import Any

import orjson

from ai_workflow.config.settings import Service
from ai_workflow.errors import AiWorkflowError
from ai_workflow.features.row_encoder import InvalidRowsError
from ai_workflow.secret_values import MASK, scrub
from ai_workflow.serving.auth import Authenticator
from ai_workflow.serving.endpoints import InferenceEndpoints
from ai_workflow.serving.protocol.http_types import JSON, RETRY, Handler, Header, Headers, HttpError, Request, Response
from ai_workflow.serving.request_metrics import RequestMetrics
from ai_workflow.telemetry import trace_context
from ai_workflow.telemetry.logs import logger

_CLOSE = (b"connection", b"close")
_PLAIN = b"identity"
_QUOTED = re.compile(r"'.*'|\".*\"", re.DOTALL)
# All bodies that are being received, beyond their first piece.
_MOST_BUFFERED = 64 << 20
log = logger("serving")


class InferenceApp:
    """Answers the routes of inference, and hands all others on.

    Args:
        service: its limits.
        answering: the routes of inference.
        authenticator: who may ask.
        others: the application that has all other routes.
        request_metrics: counts what becomes of requests.
    """

    def __init__(
        self,
        service: Service,
        answering: InferenceEndpoints,
        authenticator: Authenticator,
        others: Any,
        request_metrics: RequestMetrics,
    ) -> None:
        self._service, self._answering, self._authenticator, self._others = service, answering, authenticator, others
        self._request_metrics = request_metrics
        self.in_flight, self._buffered = 0, 0
        self.draining = False
        self._loop = asyncio.get_running_loop()
        self._random = random.Random(os.urandom(16))  # noqa: S311 - trace ids are no secrets

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        is_post = scope["type"] == "http" and scope["method"] == "POST"
        route = self._answering.route(scope["path"]) if is_post else None
        if route is None:
            is_logged = scope["type"] == "http" and log.isEnabledFor(logging.DEBUG)
            await self._others(scope, receive, self._logged(scope, send) if is_logged else send)
            return
        began = self._loop.time()
        headers: Headers = dict(scope["headers"])
        trace_id = self._trace_of(headers)
        status, reason = 200, ""
        more: tuple[Header, ...] = (JSON,)
        try:
            response = await self._admitted(route, headers, trace_id, receive)
            if response is None:
                return
            content, more = response.body, response.headers
        except InvalidRowsError as error:
            status, content, reason = (
                self._request_metrics.record_invalid(400),
                _said(error, trace_id),
                _without_values(error),
            )
        except HttpError as error:
            status, content, more = error.status, _said(error, trace_id), (JSON, *error.headers)
            reason = _without_values(error)
        except Exception:
            with trace_context.bound(trace_id=trace_id):
                log.exception("a request failed for a reason of our own")
            self._request_metrics.record_error("error", trace_id)
            status, content = 500, _said("internal error; the service's log has more", trace_id)
            reason = "internal error"
        length = (b"content-length", b"%d" % len(content))
        closing = (_CLOSE,) if self.draining else ()
        await send({"type": "http.response.start", "status": status, "headers": [length, *more, *closing]})
        await send({"type": "http.response.body", "body": content})
        if log.isEnabledFor(logging.DEBUG):
            with trace_context.bound(trace_id=trace_id):
                took = self._loop.time() - began
                log.debug(
                    "POST %r: %d in %.4f s, %d bytes%s",
                    scope["path"],
                    status,
                    took,
                    len(content),
                    reason and f": {reason}",
                )

    def _logged(self, scope: Any, send: Any) -> Any:
        """Return a `send` that logs the response of a route that is not one of inference."""
        began = self._loop.time()

        async def logged(message: Any) -> None:
            if message["type"] == "http.response.start":
                took = self._loop.time() - began
                log.debug("%s %r: %d in %.4f s", scope["method"], scope["path"], message["status"], took)
            await send(message)

        return logged

    async def _admitted(self, route: Handler, headers: Headers, trace_id: str, receive: Any) -> Response | None:
        """Return the response, or None where the caller has gone.

        Raises:
            HttpError: he may not ask, or not so much, or not now.
            InvalidRowsError: his request is not one.
        """
        arrived = self._loop.time()
        if not self._authenticator.can_predict(headers):
            challenge = (b"www-authenticate", b"Bearer")
            raise HttpError(self._request_metrics.record_invalid(401), "no valid bearer token", challenge, _CLOSE)
        if headers.get(b"content-encoding", _PLAIN).lower() != _PLAIN:
            raise self._encoded(headers[b"content-encoding"])
        body = await self._body(headers, receive, trace_id)
        if body is None:
            return None
        if self.in_flight >= self._service.max_in_flight:
            self._request_metrics.record_error("rejected", trace_id)
            raise HttpError(503, "too many requests at a time (service.max_in_flight)", RETRY)
        self.in_flight += 1
        try:
            return await route(Request(body, headers, arrived, trace_id))
        finally:
            self.in_flight -= 1

    async def _body(self, headers: Headers, receive: Any, trace_id: str) -> bytes | None:
        most = self._service.max_body_bytes
        if int(headers.get(b"content-length", 0)) > most:
            raise self._too_large()
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body: bytes = message["body"]
        return await self._rest(body, receive, trace_id) if message["more_body"] else body

    async def _rest(self, body: bytes, receive: Any, trace_id: str) -> bytes | None:
        """Return a body of which more is to come; all that are being received are bounded together."""
        pieces, size, more = [body], len(body), True
        try:
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                pieces.append(message["body"])
                more = message["more_body"]
                size += len(pieces[-1])
                self._buffered += len(pieces[-1])
                if size > self._service.max_body_bytes:
                    raise self._too_large()
                if self._buffered > _MOST_BUFFERED:
                    self._request_metrics.record_error("rejected", trace_id)
                    raise HttpError(503, "too much is being received at a time", RETRY, _CLOSE)
            return b"".join(pieces)
        finally:
            self._buffered -= size - len(body)

    def _too_large(self) -> HttpError:
        most = self._service.max_body_bytes
        return HttpError(
            self._request_metrics.record_invalid(413),
            f"the body has more than {most} bytes (service.max_body_bytes)",
            _CLOSE,
        )

    def _encoded(self, coding: bytes) -> HttpError:
        said = f"Content-Encoding {coding.decode('latin-1')!r} is not taken: send the body as it is"
        return HttpError(self._request_metrics.record_invalid(415), said, (b"accept-encoding", _PLAIN), _CLOSE)

    def _trace_of(self, headers: Headers) -> str:
        given = headers.get(b"traceparent")
        if given is not None:
            try:
                return trace_context.from_traceparent(given.decode("latin-1"))
            except AiWorkflowError:
                pass
        return f"{self._random.getrandbits(128) or 1:032x}"


def _said(problem: object, trace_id: str) -> bytes:
    return orjson.dumps({"error": scrub(str(problem)), "trace_id": trace_id})


def _without_values(problem: object) -> str:
    """Return why a request is refused for the log: without quoted values, which are those of the caller."""
    return _QUOTED.sub(f"'{MASK}'", str(problem))
