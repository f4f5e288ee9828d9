"""WeCom group bot: Markdown of at most 4096 bytes, key in the URL, errors in the response body.

https://developer.work.weixin.qq.com/document/path/91770
"""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from ai_workflow.alerting.channels import signed_bot
from ai_workflow.alerting.messages.markup import WECOM, Style, fit_to_limit
from ai_workflow.alerting.messages.notification import Notification
from ai_workflow.alerting.messages.rendering import Message

MAX_BYTES = 4096
_CODES = signed_bot.ErrorCodes(
    code_fields=("errcode",),
    message_fields=("errmsg",),
    rate_limits={45009: 60.0, 45033: 60.0},
    transient=frozenset({-1}),
)


class WeCom:
    """Client of one bot.

    Args:
        url: webhook URL with `key`.
    """

    def __init__(self, url: str, style: Style, client: httpx.AsyncClient) -> None:
        self._url, self._style, self._client = url, style, client

    async def send(self, notification: Notification) -> None:
        """Send one message.

        Raises:
            DeliveryError: the vendor did not confirm the message.
        """
        message = await asyncio.to_thread(
            fit_to_limit, notification, self._style, lambda message: len(_content(message).encode()) <= MAX_BYTES
        )
        body: dict[str, Any] = {"msgtype": "markdown", "markdown": {"content": _content(message)}}
        await signed_bot.post(self._client, self._url, body, _CODES)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _content(message: Message) -> str:
    return f"### {WECOM.escape(message.title)}\n{WECOM.lines(message.lines)}"
