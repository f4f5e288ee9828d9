"""DingTalk's group bot: Markdown, signed in the address, errors in the body.

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
from ai_workflow.alerting.messages.inert import plain
from ai_workflow.alerting.messages.markup import DINGTALK, Style, fitted
from ai_workflow.alerting.messages.notification import Notice
from ai_workflow.alerting.messages.rendering import Text

MOST_BYTES = 20_000
# More than 20 messages in a minute are refused for ten minutes.
_CODES = signed_bot.Codes(
    names=("errcode",), message=("errmsg",), too_fast={130101: 600.0, 410100: 600.0}, passing=frozenset({-1})
)


class DingTalk:
    """One bot.

    Args:
        url: as DingTalk shows it, with `access_token`.
        secret: of the security setting "sign"; none where the bot asks for a keyword or an address instead.
    """

    def __init__(self, url: str, secret: str | None, style: Style, client: httpx.AsyncClient) -> None:
        self._url, self._secret, self._style, self._client = httpx.URL(url), secret, style, client

    async def send(self, notice: Notice) -> None:
        """Send one message.

        Raises:
            Undelivered: it is not known to have arrived.
        """
        text = await asyncio.to_thread(
            fitted, notice, self._style, lambda text: http_channel.size(_body(text)) <= MOST_BYTES
        )
        url = self._url
        if self._secret is not None:
            stamp = str(round(time.time() * 1000))
            url = url.copy_merge_params({"timestamp": stamp, "sign": sign(stamp, self._secret)})
        await signed_bot.post(self._client, str(url), _body(text), _CODES)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def sign(stamp: str, secret: str) -> str:
    """Return the signature of a moment (milliseconds), as it is before the address quotes it."""
    digest = hmac.new(secret.encode(), f"{stamp}\n{secret}".encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def _body(text: Text) -> dict[str, Any]:
    said = f"### {DINGTALK.escape(text.title)}\n\n{DINGTALK.lines(text.lines)}"
    return {"msgtype": "markdown", "markdown": {"title": plain(text.title), "text": said}}
