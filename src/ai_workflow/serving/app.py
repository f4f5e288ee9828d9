"""ASGI application of the service: admission, limits and error responses of inference requests.

Written without a web framework, because every microsecond per request counts.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import re
from typing import Any

import orjson
from starlette.requests import ClientDisconnect

from ai_workflow.config.settings import Service
from ai_workflow.errors import AiWorkflowError
from ai_workflow.features.row_encoder import InvalidRowsError
from ai_workflow.http_server import request_body
from ai_workflow.http_server.request_body import BodyTooLargeError, BufferFullError, ReceiveBuffer
from ai_workflow.secret_values import MASK, scrub
from ai_workflow.serving.auth import Authenticator
from ai_workflow.serving.endpoints import InferenceEndpoints
from ai_workflow.serving.protocol.http_types import (
    JSON,
    RETRY,
    Handler,
    Header,
    Headers,
    HttpError,
    Request,
    Response,
)
from ai_workflow.serving.request_metrics import RequestMetrics
from ai_workflow.telemetry import trace_context
from ai_workflow.telemetry.logs import logger

_CLOSE = (b"connection", b"close")
_IDENTITY = b"identity"
_QUOTED = re.compile(r"'.*'|\".*\"", re.DOTALL)
_MAX_BUFFERED_BYTES = 64 << 20
log = logger("serving")


class InferenceApp:
    """Application that handles inference requests, and passes all others to another application.

    Args:
        service: the limits.
        endpoints: the inference endpoints.
        authenticator: the tokens.
        other_app: the ASGI application of all other routes.
        request_metrics: the metrics of requests.
    """

    def __init__(
        self,
        service: Service,
        endpoints: InferenceEndpoints,
        authenticator: Authenticator,
        other_app: Any,
        request_metrics: RequestMetrics,
    ) -> None:
        self._service, self._endpoints, self._authenticator = service, endpoints, authenticator
        self._other_app = other_app
        self._request_metrics = request_metrics
        self._buffer = ReceiveBuffer(_MAX_BUFFERED_BYTES)
        self.in_flight = 0
        self.draining = False
        self._loop = asyncio.get_running_loop()
        self._random = random.Random(os.urandom(16))  # noqa: S311 - trace IDs are not secret

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle one request."""
        is_post = scope["type"] == "http" and scope["method"] == "POST"
        handler = self._endpoints.handler(scope["path"]) if is_post else None
        if handler is None:
            is_logged = scope["type"] == "http" and log.isEnabledFor(logging.DEBUG)
            await self._other_app(scope, receive, self._logging_send(scope, send) if is_logged else send)
            return
        if scope["query_string"]:
            handler = self._endpoints.with_query(handler, scope["query_string"])
        started_at = self._loop.time()
        request_headers: Headers = dict(scope["headers"])
        trace_id = self._trace_id(request_headers)
        status, reason = 200, ""
        headers: tuple[Header, ...] = (JSON,)
        try:
            response = await self._admit(handler, request_headers, trace_id, receive)
            content, headers = response.body, response.headers
        except ClientDisconnect:
            return
        except InvalidRowsError as error:
            status = self._request_metrics.record_invalid(400)
            content, reason = _error_body(error, trace_id), _without_values(error)
        except HttpError as error:
            status, content, headers = error.status, _error_body(error, trace_id), (JSON, *error.headers)
            reason = _without_values(error)
        except Exception:
            with trace_context.bound(trace_id=trace_id):
                log.exception("a request failed with an internal error")
            self._request_metrics.record_error("error", trace_id)
            status, content = 500, _error_body("internal error; see the log of the service", trace_id)
            reason = "internal error"
        length = (b"content-length", b"%d" % len(content))
        closing = (_CLOSE,) if self.draining else ()
        await send({"type": "http.response.start", "status": status, "headers": [length, *headers, *closing]})
        await send({"type": "http.response.body", "body": content})
        if log.isEnabledFor(logging.DEBUG):
            seconds = self._loop.time() - started_at
            suffix = reason and f": {reason}"
            with trace_context.bound(trace_id=trace_id):
                log.debug("POST %r: %d in %.4f s, %d bytes%s", scope["path"], status, seconds, len(content), suffix)

    def _logging_send(self, scope: Any, send: Any) -> Any:
        """Return a `send` that logs the response of a route other than inference."""
        started_at = self._loop.time()

        async def logging_send(message: Any) -> None:
            if message["type"] == "http.response.start":
                seconds = self._loop.time() - started_at
                log.debug("%s %r: %d in %.4f s", scope["method"], scope["path"], message["status"], seconds)
            await send(message)

        return logging_send

    async def _admit(self, handler: Handler, headers: Headers, trace_id: str, receive: Any) -> Response:
        """Return the response to a request that passes authentication and limits.

        Raises:
            HttpError: the request is unauthenticated, too large, or exceeds a limit of concurrency.
            InvalidRowsError: the request is malformed.
            ClientDisconnect: the client disconnected before the request was complete.
        """
        arrived_at = self._loop.time()
        if not self._authenticator.can_predict(headers):
            challenge = (b"www-authenticate", b"Bearer")
            raise HttpError(self._request_metrics.record_invalid(401), "no valid bearer token", challenge, _CLOSE)
        if headers.get(b"content-encoding", _IDENTITY).lower() != _IDENTITY:
            raise self._unsupported_encoding(headers[b"content-encoding"])
        length = headers.get(b"content-length")
        try:
            body = await request_body.read(receive, self._service.max_body_bytes, length, self._buffer)
        except BodyTooLargeError as error:
            status = self._request_metrics.record_invalid(413)
            raise HttpError(status, f"{error} (service.max_body_bytes)", _CLOSE) from error
        except BufferFullError as error:
            self._request_metrics.record_error("rejected", trace_id)
            raise HttpError(503, "too many bytes of requests are being received", RETRY, _CLOSE) from error
        if self.in_flight >= self._service.max_in_flight:
            self._request_metrics.record_error("rejected", trace_id)
            raise HttpError(503, "too many concurrent requests (service.max_in_flight)", RETRY)
        self.in_flight += 1
        try:
            return await handler(Request(body, headers, arrived_at, trace_id))
        finally:
            self.in_flight -= 1

    def _unsupported_encoding(self, encoding: bytes) -> HttpError:
        text = f"Content-Encoding {encoding.decode('latin-1')!r} is not supported. Send the body without it"
        return HttpError(self._request_metrics.record_invalid(415), text, (b"accept-encoding", _IDENTITY), _CLOSE)

    def _trace_id(self, headers: Headers) -> str:
        traceparent = headers.get(b"traceparent")
        if traceparent is not None:
            try:
                return trace_context.from_traceparent(traceparent.decode("latin-1"))
            except AiWorkflowError:
                pass
        return f"{self._random.getrandbits(128) or 1:032x}"


def _error_body(problem: object, trace_id: str) -> bytes:
    return orjson.dumps({"error": scrub(str(problem)), "trace_id": trace_id})


def _without_values(problem: object) -> str:
    """Return the reason of an error for the log, without quoted values, because those come from the client."""
    return _QUOTED.sub(f"'{MASK}'", str(problem))
