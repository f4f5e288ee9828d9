"""One POST of JSON to a chat vendor, and what its answer means."""

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

from ai_workflow.alerting.channels import rate_limits
from ai_workflow.alerting.channels.channel import Refused, TooFast, Undelivered
from ai_workflow.alerting.messages.markup import Style, fitted
from ai_workflow.alerting.messages.notification import Notice
from ai_workflow.alerting.messages.rendering import Text
from ai_workflow.alerting.messages.sanitize import clean
from ai_workflow.errors import AiWorkflowError

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a vendor is written to.

    Args:
        body: the JSON of a message.
        fits: whether the vendor takes a message of that length.
        judge: raises Undelivered for an answer 2xx that does not stand for success.
    """

    body: Callable[[Text], Body]
    fits: Callable[[Text], bool]
    judge: Callable[[httpx.Response], None]


class Bot:
    """One address of a chat vendor.

    Args:
        url: where messages are posted.
        protocol: of the vendor.
        style: language and time zone.
        client: for this chat alone.
        headers: sent with each message.
    """

    def __init__(
        self,
        url: str,
        protocol: Protocol,
        style: Style,
        client: httpx.AsyncClient,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._url, self._protocol, self._style, self._client = url, protocol, style, client
        self._headers = dict(headers or {})

    async def send(self, notice: Notice) -> float:
        """Send one message, and return the seconds that the vendor wants no other.

        Raises:
            Undelivered: it is not known to have arrived.
        """
        text = await asyncio.to_thread(fitted, notice, self._style, self._protocol.fits)
        answer = await post(self._client, self._url, self._protocol.body(text), self._headers)
        self._protocol.judge(answer)
        return rate_limits.after_success(answer.headers)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def client(seconds: float) -> httpx.AsyncClient:
    """Return a client for one chat; REQUESTS_CA_BUNDLE names the authorities it trusts, as SSL_CERT_FILE does.

    Raises:
        AiWorkflowError: the file of the authorities does not exist or holds no certificate.
    """
    bundle = os.environ.get("REQUESTS_CA_BUNDLE")
    try:
        return httpx.AsyncClient(timeout=seconds, verify=_trusting(Path(bundle)) if bundle else True)
    except OSError as error:
        name = "REQUESTS_CA_BUNDLE" if bundle else "SSL_CERT_FILE"
        said = error.strerror or error
        raise AiWorkflowError(
            f"{name}: the certificates in {os.environ.get(name)} cannot be read: {said}. Correct or unset {name}"
        ) from error


def _trusting(bundle: Path) -> ssl.SSLContext:
    if bundle.is_dir():
        return ssl.create_default_context(capath=str(bundle))
    return ssl.create_default_context(cafile=str(bundle))


async def post(
    client: httpx.AsyncClient, url: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> httpx.Response:
    """Post a message, and return the vendor's answer, of status 2xx.

    Raises:
        TooFast: HTTP 429, or 503 with the time of the next try.
        Refused: any other 3xx or 4xx; a redirect would turn the post into a get, and that into a success.
        Undelivered: the vendor is not reached, or has an error of its own.
    """
    try:
        answer = await client.post(
            url, content=encoded(body), headers={**(headers or {}), "content-type": "application/json"}
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Undelivered(f"not reached: {type(error).__name__}") from None
    if answer.is_success:
        return answer
    reason = f"HTTP {answer.status_code}: {clean(answer.text, 200)}"
    wait = rate_limits.seconds(answer.headers, answer.content)
    if answer.status_code == 429 or (answer.status_code == 503 and "retry-after" in answer.headers):
        raise TooFast(reason, rate_limits.DEFAULT_SECONDS if wait is None else wait)
    kind = Refused if 300 <= answer.status_code < 500 and answer.status_code != 408 else Undelivered
    raise kind(f"{_migrated(answer)}{reason}")


def encoded(body: Mapping[str, Any]) -> bytes:
    """Return a body as it is posted."""
    return orjson.dumps(body)


def size(body: Mapping[str, Any]) -> int:
    """Return the bytes that a body is posted as."""
    return len(encoded(body))


def units(text: str) -> int:
    """Return the UTF-16 units of a text, which is how chats count: an emoji is two."""
    return len(text.encode("utf-16-le")) // 2


def _migrated(answer: httpx.Response) -> str:
    """Return the remedy where Telegram says that a group has another id now."""
    try:
        chat = orjson.loads(answer.content)["parameters"]["migrate_to_chat_id"]
    except (ValueError, KeyError, TypeError):
        return ""
    return f"the group is a supergroup now. Set chat_id={chat} in its url. " if isinstance(chat, int) else ""
