"""HTTP routes of the relay: POST /alertmanager and /prefect for webhooks, GET /metrics and /health.

`POST /alertmanager/<channel>` sends alerts to one channel. Alertmanager reports the end of an alert only to receivers
that confirmed its start. With one webhook for all channels, a failed channel would keep it from the other channels.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable

import prometheus_client
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ai_workflow.alerting import alertmanager_webhook, prefect_webhook, request_bodies
from ai_workflow.alerting.delivery import Delivery, DeliveryResult
from ai_workflow.alerting.events import EventEmitter
from ai_workflow.alerting.messages.notification import Notification
from ai_workflow.alerting.request_bodies import InvalidBodyError
from ai_workflow.alerting.retries import RetryQueue
from ai_workflow.config.settings.chat import Relay
from ai_workflow.http_server import request_body
from ai_workflow.http_server.origin_check import Headers, OriginGuard, Origins
from ai_workflow.secret_values import scrub
from ai_workflow.telemetry import metrics
from ai_workflow.telemetry.logs import logger

SOURCES: dict[str, Callable[[bytes], Notification]] = {
    "alertmanager": alertmanager_webhook.parse,
    "prefect": prefect_webhook.parse,
}
RESULTS = ("delivered", "failed", "no_channel", "refused")
_READ_SECONDS = 10.0
log = logger("relay")


class _RequestError(Exception):
    """A rejected request, with the HTTP status of the response."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _BodyTooLargeError(_RequestError):
    """A request body larger than `relay.max_body_bytes`."""


class RelayApp:
    """ASGI application of the relay.

    Args:
        relay: limits of the relay.
        token: bearer token that senders must present, or None.
        delivery: sends notifications to the channels.
        retries: retries for senders that post only once.
        events: emits SLO breaches to Prefect, or None without a Prefect API.
        origins: allowed origins besides the address of the relay.
    """

    def __init__(
        self, relay: Relay, token: str | None, delivery: Delivery, retries: RetryQueue, events: EventEmitter | None,
        origins: Origins,
    ) -> None:  # fmt: skip
        self._relay, self._delivery, self._retries, self._events = relay, delivery, retries, events
        self._token = token.encode() if token is not None else None
        self._origins = origins
        counter = metrics.get("alert_webhook_total")
        self._webhooks = {(source, result): counter.labels(source, result) for source in SOURCES for result in RESULTS}

    def app(self) -> OriginGuard:
        """Return the ASGI application."""
        app = Starlette(
            routes=[
                Route("/alertmanager", self._webhook, methods=["POST"]),
                Route("/alertmanager/{channel}", self._webhook, methods=["POST"]),
                Route("/prefect", self._webhook, methods=["POST"]),
                Route("/metrics", self._metrics),
                Route("/health", self._health),
            ]
        )
        # A redirect would repeat the Host header, and would be sent before the token is checked.
        app.router.redirect_slashes = False
        return OriginGuard(app, self._origins, lambda headers: self._token is not None and self._has_token(headers))

    async def _webhook(self, request: Request) -> Response:
        source, _, channel = request.url.path.strip("/").partition("/")
        try:
            self._check_headers(request)
            # Thousands of alerts take a second to parse. A thread keeps the event loop responsive.
            notification = await asyncio.to_thread(SOURCES[source], await self._body(request))
        except _BodyTooLargeError as error:
            return await self._too_large(source, error)
        except (_RequestError, InvalidBodyError) as error:
            self._webhooks[source, "refused"].inc()
            status = error.status if isinstance(error, _RequestError) else 400
            log.warning("a webhook from %s was rejected with %d: %s", source, status, error)
            return _json_response(
                {"error": scrub(str(error))}, status, {"www-authenticate": "Bearer"} if status == 401 else {}
            )
        except ClientDisconnect:
            self._webhooks[source, "refused"].inc()
            return Response(status_code=400)
        if self._events is not None:
            self._events.publish(notification)
        if channel and not self._delivery.has_channel(channel):
            # Alertmanager does not retry after a 4xx response, so a rejected webhook would be lost.
            log.error(
                "there is no chat channel '%s', so the alerts go to all channels. Fix `channels` in slo.yaml", channel
            )
            channel = ""
        result = await self._delivery.deliver(notification, channel or None)
        self._webhooks[source, result.status].inc()
        if result.failed and source == "prefect":
            self._retries.schedule(notification)
        return _response(result)

    async def _too_large(self, source: str, error: _BodyTooLargeError) -> Response:
        """Notify the channels about a body that was not read.

        Respond with 413, or with 503 if that failed.
        """
        self._webhooks[source, "refused"].inc()
        log.error("a webhook from %s was rejected with %d: %s", source, error.status, error)
        result = await self._delivery.deliver(request_bodies.too_large(source, self._relay.max_body_bytes))
        return _json_response({"error": str(error), **_outcome(result)}, 503 if result.failed else 413)

    def _check_headers(self, request: Request) -> None:
        if self._token is not None and not self._has_token(request.scope["headers"]):
            raise _RequestError(401, "no valid bearer token (relay.token)")
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != "application/json" and (content_type or self._token is None):
            # Browsers let a page of another site post forms and text without a preflight request, but not JSON.
            # A webhook of Prefect has no content type by default, and is authenticated by the token.
            raise _RequestError(415, f"Content-Type {content_type[:100]!r} is not supported. Send application/json")
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise _RequestError(415, "Content-Encoding is not supported. Send the body uncompressed")

    def _has_token(self, headers: Headers) -> bool:
        """Return whether the headers contain the token of the relay."""
        scheme, _, token = dict(headers).get(b"authorization", b"").partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(token.strip(), self._token or b"")

    async def _body(self, request: Request) -> bytes:
        try:
            async with asyncio.timeout(_READ_SECONDS):
                return await request_body.read(request.receive, self._relay.max_body_bytes)
        except request_body.BodyTooLargeError as error:
            raise _BodyTooLargeError(413, f"{error} (relay.max_body_bytes)") from error
        except TimeoutError:
            raise _RequestError(408, f"the body was not received within {_READ_SECONDS:g} s") from None

    async def _metrics(self, _: Request) -> Response:
        content = await asyncio.to_thread(prometheus_client.generate_latest)
        return Response(content, media_type=prometheus_client.CONTENT_TYPE_LATEST)

    async def _health(self, request: Request) -> Response:
        """Return the channels with undelivered alerts; the reason requires the token, because it quotes the vendor."""
        can_read_problems = self._token is None or self._has_token(request.scope["headers"])
        channels = {
            name: {
                "pending": state.pending,
                "failing_since": state.failing_since,
                "problem": state.problem if can_read_problems else None,
            }
            for name, state in self._delivery.states().items()
        }
        return _json_response({"status": "ok", "channels": channels}, 200)


def _response(result: DeliveryResult) -> Response:
    """Return the response to a webhook: 200, 503 or 422.

    Alertmanager repeats a webhook after any 5xx, and channels that received it do not receive it twice. It does not
    repeat after 422, which means that no channel accepts the alerts: only a change of `chat` can help.
    """
    content = _outcome(result)
    if result.unreached:
        content["result"] = result.status
        content["no_channel"] = result.unreached
        content["error"] = "no channel of chat accepts these alerts. Add one to chat, or widen severities or pipelines."
    if result.failed:
        return _json_response(content, 503)
    return _json_response(content, 422 if result.unreached and not result.delivered else 200)


def _outcome(result: DeliveryResult) -> dict[str, object]:
    return {"delivered": result.delivered, "failed": result.failed}


def _json_response(content: dict[str, object], status: int, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse(content, status, headers)
