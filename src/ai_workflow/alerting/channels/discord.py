"""Discord webhook: an embed; mentions are disabled.

https://docs.discord.com/developers/resources/webhook
"""

from __future__ import annotations

import httpx
import orjson

from ai_workflow.alerting.channels.channel import DeliveryError
from ai_workflow.alerting.channels.http_channel import Body, MessageFormat, utf16_length
from ai_workflow.alerting.messages.markup import DISCORD
from ai_workflow.alerting.messages.rendering import Message
from ai_workflow.alerting.messages.sanitize import clean

# Discord accepts 4096 in a description and 256 in a title.
_MAX_UNITS = 4000
_MAX_TITLE_UNITS = 256
_NAME = "ai-workflow"
_COLORS = {"page": 0xA32037, "ticket": 0xCACF29, "chat": 0x3AA3E3, "resolved": 0x3AA337}


def _title(message: Message) -> str:
    title = message.title
    while utf16_length(escaped := DISCORD.escape(title)) > _MAX_TITLE_UNITS:
        title = f"{title[: len(title) * 3 // 4]}…"
    return escaped


def _description(message: Message) -> str:
    return DISCORD.lines(message.lines) or _title(message)


def _body(message: Message) -> Body:
    embed = {
        "title": _title(message),
        "description": _description(message),
        "color": _COLORS.get(message.severity, _COLORS["ticket"]),
    }
    return {"username": _NAME, "embeds": [embed], "allowed_mentions": {"parse": []}}


def _check_response(response: httpx.Response) -> None:
    """Accept 204, or the message as JSON, which Discord returns for `?wait=true` in the URL."""
    if response.status_code == 204:
        return
    try:
        if "id" in orjson.loads(response.content):
            return
    except (ValueError, TypeError):
        pass
    raise DeliveryError(f"HTTP {response.status_code} without a message: {clean(response.text, 200)}")


FORMAT = MessageFormat(_body, lambda message: utf16_length(_description(message)) <= _MAX_UNITS, _check_response)
