"""The HTTP side: POST /alertmanager and /prefect take webhooks, GET /metrics and /health tell how it goes.

`POST /alertmanager/<channel>` tells that channel alone. Alertmanager says that an alert is over only where it was told
that it fires: of one webhook for all channels, one that is down would keep the end of an alert from the others.
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
from ai_workflow.alerting.delivery import Delivery, Outcome
from ai_workflow.alerting.events import Events
from ai_workflow.alerting.messages.notification import Notice
from ai_workflow.alerting.request_bodies import BadBody
from ai_workflow.alerting.retries import Retries
from ai_workflow.config.settings.chat import Relay
from ai_workflow.http_server.origin_check import Headers, OriginGuard, Origins
from ai_workflow.secret_values import scrub
from ai_workflow.telemetry import metrics
from ai_workflow.telemetry.logs import logger

SOURCES: dict[str, Callable[[bytes], Notice]] = {
    "alertmanager": alertmanager_webhook.notice,
    "prefect": prefect_webhook.notice,
}
RESULTS = ("delivered", "failed", "no_channel", "refused")
_READ_SECONDS = 10.0
log = logger("relay")


class _Refused(Exception):
    """A request that is not let in: status and words."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status, self.said = status, said


class _TooLarge(_Refused):
    """A body beyond `relay.max_body_bytes`."""


class RelayApp:
    """Answers the relay's routes.

    Args:
        relay: its limits.
        token: what senders must bear, if anything.
        delivery: tells the channels.
        retries: tries again for those who post once.
        events: emits breaches to Prefect, where there is one.
        origins: the origins that are allowed besides the relay's own address.
    """

    def __init__(
        self, relay: Relay, token: str | None, delivery: Delivery, retries: Retries, events: Events | None,
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
        # A redirect would be made of the Host header, and be answered before the token is checked.
        app.router.redirect_slashes = False
        return OriginGuard(app, self._origins, lambda headers: self._token is not None and self._bears_token(headers))

    async def _webhook(self, request: Request) -> Response:
        source, _, channel = request.url.path.strip("/").partition("/")
        try:
            self._admit(request)
            # Some thousand alerts take a second, in which others are answered.
            notice = await asyncio.to_thread(SOURCES[source], await self._body(request))
        except _TooLarge as error:
            return await self._too_large(source, error)
        except (_Refused, BadBody) as error:
            self._webhooks[source, "refused"].inc()
            status = error.status if isinstance(error, _Refused) else 400
            log.warning("a webhook from %s was refused with %d: %s", source, status, error)
            return _said({"error": scrub(str(error))}, status, {"www-authenticate": "Bearer"} if status == 401 else {})
        except ClientDisconnect:
            self._webhooks[source, "refused"].inc()
            return Response(status_code=400)
        if self._events is not None:
            self._events.see(notice)
        if channel and not self._delivery.knows(channel):
            # Refused, it would be lost: Alertmanager tries no 4xx again.
            log.error("there is no chat channel '%s', all are told instead: mend `channels` in slo.yaml", channel)
            channel = ""
        outcome = await self._delivery.deliver(notice, channel or None)
        self._webhooks[source, outcome.result].inc()
        if outcome.failed and source == "prefect":
            self._retries.later(notice)
        return _answer(outcome)

    async def _too_large(self, source: str, error: _TooLarge) -> Response:
        """Send the channels a message in place of the alerts that are not read; answer 413, or 503 if it failed."""
        self._webhooks[source, "refused"].inc()
        log.error("a webhook from %s was refused with %d: %s", source, error.status, error)
        outcome = await self._delivery.deliver(request_bodies.too_large(source, self._relay.max_body_bytes))
        return _said(
            {"error": str(error), "told": outcome.told, "failed": outcome.failed}, 503 if outcome.failed else 413
        )

    def _admit(self, request: Request) -> None:
        if self._token is not None and not self._bears_token(request.scope["headers"]):
            raise _Refused(401, "no valid bearer token (relay.token)")
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json" and (kind or self._token is None):
            # A page of another site may post a form or text without a preflight request, but no JSON.
            # A webhook of Prefect has no content type by default; the token is its proof.
            raise _Refused(415, f"Content-Type {kind[:100]!r} is not taken: send application/json")
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise _Refused(415, "Content-Encoding is not taken: send the body as it is")

    def _bears_token(self, headers: Headers) -> bool:
        """Return whether a request has the relay's token."""
        scheme, _, given = dict(headers).get(b"authorization", b"").partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), self._token or b"")

    async def _body(self, request: Request) -> bytes:
        most = self._relay.max_body_bytes
        pieces, size = [], 0
        try:
            async with asyncio.timeout(_READ_SECONDS):
                async for piece in request.stream():
                    pieces.append(piece)
                    size += len(piece)
                    if size > most:
                        raise _TooLarge(413, f"the body has more than {most} bytes (relay.max_body_bytes)")
        except TimeoutError:
            raise _Refused(408, f"the body was not sent within {_READ_SECONDS:g} s") from None
        return b"".join(pieces)

    async def _metrics(self, _: Request) -> Response:
        content = await asyncio.to_thread(prometheus_client.generate_latest)
        return Response(content, media_type=prometheus_client.CONTENT_TYPE_LATEST)

    async def _health(self, _: Request) -> Response:
        return _said({"status": "ok"}, 200)


def _answer(outcome: Outcome) -> Response:
    """Return the answer to a webhook: 200, 503 or 422.

    Alertmanager repeats a webhook on any 5xx, and channels that received it are not sent it twice. It does not repeat
    on 422, which stands for alerts that no channel takes: only a change of `chat` can help.
    """
    content: dict[str, object] = {"told": outcome.told, "failed": outcome.failed}
    if outcome.unreached:
        content["result"] = outcome.result
        content["no_channel"] = outcome.unreached
        content["error"] = "no channel of chat takes these alerts. Add one to chat, or widen its severities."
    if outcome.failed:
        return _said(content, 503)
    return _said(content, 422 if outcome.unreached and not outcome.told else 200)


def _said(content: dict[str, object], status: int, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse(content, status, headers)
