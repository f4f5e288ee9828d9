"""WeCom's group bot: Markdown, at most 4096 bytes of it, errors in the body; the key in its address is all it asks.

https://developer.work.weixin.qq.com/document/path/91770
"""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from ai_workflow.alerting.channels import signed_bot
from ai_workflow.alerting.messages.markup import WECOM, Style, fitted
from ai_workflow.alerting.messages.notification import Notice
from ai_workflow.alerting.messages.rendering import Text

MOST_BYTES = 4096
_CODES = signed_bot.Codes(
    names=("errcode",), message=("errmsg",), too_fast={45009: 60.0, 45033: 60.0}, passing=frozenset({-1})
)


class WeCom:
    """One bot.

    Args:
        url: as WeCom shows it, with `key`.
    """

    def __init__(self, url: str, style: Style, client: httpx.AsyncClient) -> None:
        self._url, self._style, self._client = url, style, client

    async def send(self, notice: Notice) -> None:
        """Send one message.

        Raises:
            Undelivered: it is not known to have arrived.
        """
        text = await asyncio.to_thread(
            fitted, notice, self._style, lambda text: len(_content(text).encode()) <= MOST_BYTES
        )
        body: dict[str, Any] = {"msgtype": "markdown", "markdown": {"content": _content(text)}}
        await signed_bot.post(self._client, self._url, body, _CODES)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _content(text: Text) -> str:
    return f"### {WECOM.escape(text.title)}\n{WECOM.lines(text.lines)}"
