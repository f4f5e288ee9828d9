"""Feishu's (Lark's) group bot: a card, signed in the body, errors in the body.

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
from ai_workflow.alerting.messages.inert import plain
from ai_workflow.alerting.messages.markup import FEISHU, Style, fitted
from ai_workflow.alerting.messages.notification import Notice
from ai_workflow.alerting.messages.rendering import Text

# Of the whole request. Cards may have 30 kB elsewhere; of a group bot Feishu documents 20.
MOST_BYTES = 20_000
_COLOURS = {"page": "red", "ticket": "orange", "chat": "blue", "resolved": "green"}
_CODES = signed_bot.Codes(
    names=("code", "StatusCode"),
    message=("msg", "StatusMessage"),
    too_fast={11232: 60.0, 11233: 60.0, 99991400: 60.0},
    passing=frozenset({-1, 1000, 2200}),
)


class Feishu:
    """One bot.

    Args:
        url: as Feishu shows it.
        secret: of the security setting "signature verification"; none where the bot asks for none.
    """

    def __init__(self, url: str, secret: str | None, style: Style, client: httpx.AsyncClient) -> None:
        self._url, self._secret, self._style, self._client = url, secret, style, client

    async def send(self, notice: Notice) -> None:
        """Send one message.

        Raises:
            Undelivered: it is not known to have arrived.
        """
        text = await asyncio.to_thread(
            fitted, notice, self._style, lambda text: http_channel.size(self._signed(text)) <= MOST_BYTES
        )
        await signed_bot.post(self._client, self._url, self._signed(text), _CODES)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def _signed(self, text: Text) -> dict[str, Any]:
        card = {
            "header": {
                "title": {"tag": "plain_text", "content": plain(text.title)},
                "template": _COLOURS.get(text.grave, "orange"),
            },
            "elements": [{"tag": "markdown", "content": FEISHU.lines(text.lines) or FEISHU.escape(text.title)}],
        }
        body: dict[str, Any] = {"msg_type": "interactive", "card": card}
        if self._secret is not None:
            stamp = str(int(time.time()))
            body |= {"timestamp": stamp, "sign": sign(stamp, self._secret)}
        return body


def sign(stamp: str, secret: str) -> str:
    """Return the signature of a moment (seconds): it signs nothing, with both as the key."""
    digest = hmac.new(f"{stamp}\n{secret}".encode(), b"", hashlib.sha256).digest()
    return base64.b64encode(digest).decode()
