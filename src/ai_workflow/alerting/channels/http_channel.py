"""JSON webhooks of chat vendors: one POST per message, and the errors of its response."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson

from ai_workflow.alerting.channels import vendor_delays
from ai_workflow.alerting.channels.channel import DeliveryError, RateLimitedError, RejectedError
from ai_workflow.alerting.messages.markup import Style, fit_to_limit
from ai_workflow.alerting.messages.notification import Notification
from ai_workflow.alerting.messages.rendering import Message
from ai_workflow.alerting.messages.sanitize import clean
from ai_workflow.errors import AiWorkflowError

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class MessageFormat:
    """Message format of a vendor.

    Args:
        body: returns the JSON body of a message.
        fits: returns whether the vendor accepts a message of that length.
        check: raises DeliveryError for a 2xx response that is not a success.
    """

    body: Callable[[Message], Body]
    fits: Callable[[Message], bool]
    check: Callable[[httpx.Response], None]


class WebhookBackend:
    """Client of one webhook URL.

    Args:
        url: URL of the webhook.
        message_format: message format of the vendor.
        style: language and time zone.
        client: HTTP client of this chat.
        headers: headers of each message.
    """

    def __init__(
        self,
        url: str,
        message_format: MessageFormat,
        style: Style,
        client: httpx.AsyncClient,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._url, self._format, self._style, self._client = url, message_format, style, client
        self._headers = dict(headers or {})

    async def send(self, notification: Notification) -> float:
        """Send one message; return the delay in seconds before the next one.

        Raises:
            DeliveryError: the vendor did not confirm the message.
        """
        message = await asyncio.to_thread(fit_to_limit, notification, self._style, self._format.fits)
        response = await post(self._client, self._url, self._format.body(message), self._headers)
        self._format.check(response)
        return vendor_delays.after_success(response.headers)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def client(timeout_seconds: float) -> httpx.AsyncClient:
    """Return an HTTP client for one chat.

    REQUESTS_CA_BUNDLE or SSL_CERT_FILE set the trusted certificates.

    Raises:
        AiWorkflowError: the certificate file does not exist or contains no certificate.
    """
    bundle = os.environ.get("REQUESTS_CA_BUNDLE")
    try:
        return httpx.AsyncClient(timeout=timeout_seconds, verify=_ssl_context(Path(bundle)) if bundle else True)
    except OSError as error:
        name = "REQUESTS_CA_BUNDLE" if bundle else "SSL_CERT_FILE"
        reason = error.strerror or error
        raise AiWorkflowError(
            f"{name}: the certificates in {os.environ.get(name)} cannot be read: {reason}. Correct or unset {name}"
        ) from error


def _ssl_context(bundle: Path) -> ssl.SSLContext:
    if bundle.is_dir():
        return ssl.create_default_context(capath=str(bundle))
    return ssl.create_default_context(cafile=str(bundle))


async def post(
    client: httpx.AsyncClient, url: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> httpx.Response:
    """Post a message; return the response of the vendor, of status 2xx.

    Raises:
        RateLimitedError: HTTP 429, or 503 with a Retry-After header.
        RejectedError: another 3xx or 4xx. Redirects are not followed, because they would turn the POST into a GET.
        DeliveryError: the vendor cannot be reached, or reports a server error.
    """
    try:
        response = await client.post(
            url, content=orjson.dumps(body), headers={**(headers or {}), "content-type": "application/json"}
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise DeliveryError(f"not reachable: {type(error).__name__}") from None
    if response.is_success:
        return response
    reason = f"HTTP {response.status_code}: {clean(response.text, 200)}"
    wait = vendor_delays.seconds(response.headers, response.content)
    if response.status_code == 429 or (response.status_code == 503 and "retry-after" in response.headers):
        raise RateLimitedError(reason, vendor_delays.DEFAULT_SECONDS if wait is None else wait)
    error_class = RejectedError if 300 <= response.status_code < 500 and response.status_code != 408 else DeliveryError
    raise error_class(f"{_migration_hint(response)}{reason}")


def size(body: Mapping[str, Any]) -> int:
    """Return the size of a body in bytes of JSON."""
    return len(orjson.dumps(body))


def utf16_length(text: str) -> int:
    """Return the number of UTF-16 code units, the unit of the limits of chat vendors: an emoji has two."""
    return len(text.encode("utf-16-le")) // 2


def _migration_hint(response: httpx.Response) -> str:
    """Return the remedy if Telegram reports that a group has a new id."""
    try:
        chat = orjson.loads(response.content)["parameters"]["migrate_to_chat_id"]
    except (ValueError, KeyError, TypeError):
        return ""
    return f"the group was upgraded to a supergroup. Set chat_id={chat} in its url. " if isinstance(chat, int) else ""
