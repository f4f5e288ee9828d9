"""Feishu (Lark) group bot: a card, signature in the body, errors in the response body.

https://open.feishu.cn/document/client-docs/bot-v3/add-custom-bot
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
from ai_workflow.alerting.messages.markup import FEISHU, Style, fit_to_limit
from ai_workflow.alerting.messages.neutralize import neutralize_all
from ai_workflow.alerting.messages.notification import Notification
from ai_workflow.alerting.messages.rendering import Message

# Limit of the whole request. Other cards may have 30 kB, but the documented limit of a group bot is 20 kB.
MAX_BYTES = 20_000
_COLORS = {"page": "red", "ticket": "orange", "chat": "blue", "resolved": "green"}
_CODES = signed_bot.ErrorCodes(
    code_fields=("code", "StatusCode"),
    message_fields=("msg", "StatusMessage"),
    rate_limits={11232: 60.0, 11233: 60.0, 99991400: 60.0},
    transient=frozenset({-1, 1000, 2200}),
)


class Feishu:
    """Client of one bot.

    Args:
        url: webhook URL.
        secret: secret of the security setting "signature verification"; None if it is off.
    """

    def __init__(self, url: str, secret: str | None, style: Style, client: httpx.AsyncClient) -> None:
        self._url, self._secret, self._style, self._client = url, secret, style, client

    async def send(self, notification: Notification) -> None:
        """Send one message.

        Raises:
            DeliveryError: the vendor did not confirm the message.
        """
        message = await asyncio.to_thread(
            fit_to_limit,
            notification,
            self._style,
            lambda message: http_channel.size(self._signed(message)) <= MAX_BYTES,
        )
        await signed_bot.post(self._client, self._url, self._signed(message), _CODES)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def _signed(self, message: Message) -> dict[str, Any]:
        card = {
            "header": {
                "title": {"tag": "plain_text", "content": neutralize_all(message.title)},
                "template": _COLORS.get(message.severity, "orange"),
            },
            "elements": [{"tag": "markdown", "content": FEISHU.lines(message.lines) or FEISHU.escape(message.title)}],
        }
        body: dict[str, Any] = {"msg_type": "interactive", "card": card}
        if self._secret is not None:
            stamp = str(int(time.time()))
            body |= {"timestamp": stamp, "sign": sign(stamp, self._secret)}
        return body


def sign(stamp: str, secret: str) -> str:
    """Return the signature of a timestamp in seconds: an HMAC of an empty message with both as the key."""
    digest = hmac.new(f"{stamp}\n{secret}".encode(), b"", hashlib.sha256).digest()
    return base64.b64encode(digest).decode()
