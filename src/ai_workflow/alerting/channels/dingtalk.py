"""DingTalk group bot: Markdown, signature in the URL, errors in the response body.

https://open.dingtalk.com/document/orgapp/custom-robots-send-group-messages
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import time
from typing import Any

import httpx

from ai_workflow.alerting.channels import http_channel, signed_bot
from ai_workflow.alerting.messages.markup import DINGTALK, Style, fit_to_limit
from ai_workflow.alerting.messages.neutralize import neutralize_all
from ai_workflow.alerting.messages.notification import Notification
from ai_workflow.alerting.messages.rendering import Message

MAX_BYTES = 20_000
# After more than 20 messages in a minute, DingTalk rejects messages for ten minutes.
_CODES = signed_bot.ErrorCodes(
    code_fields=("errcode",),
    message_fields=("errmsg",),
    rate_limits={130101: 600.0, 410100: 600.0},
    transient=frozenset({-1}),
)


class DingTalk:
    """Client of one bot.

    Args:
        url: webhook URL with `access_token`.
        secret: secret of the security setting "sign"; None if the bot requires a keyword or an IP address instead.
    """

    def __init__(self, url: str, secret: str | None, style: Style, client: httpx.AsyncClient) -> None:
        self._url, self._secret, self._style, self._client = httpx.URL(url), secret, style, client

    async def send(self, notification: Notification) -> None:
        """Send one message.

        Raises:
            DeliveryError: the vendor did not confirm the message.
        """
        message = await asyncio.to_thread(
            fit_to_limit, notification, self._style, lambda message: http_channel.size(_body(message)) <= MAX_BYTES
        )
        url = self._url
        if self._secret is not None:
            stamp = str(round(time.time() * 1000))
            url = url.copy_merge_params({"timestamp": stamp, "sign": sign(stamp, self._secret)})
        await signed_bot.post(self._client, str(url), _body(message), _CODES)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def sign(stamp: str, secret: str) -> str:
    """Return the signature of a timestamp in milliseconds, before URL encoding."""
    digest = hmac.new(secret.encode(), f"{stamp}\n{secret}".encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def _body(message: Message) -> dict[str, Any]:
    markdown = f"### {DINGTALK.escape(message.title)}\n\n{DINGTALK.lines(message.lines)}"
    return {"msgtype": "markdown", "markdown": {"title": neutralize_all(message.title), "text": markdown}}
