"""Discord's webhook: an embed, without a mention whatever the text is.

https://docs.discord.com/developers/resources/webhook
"""

from __future__ import annotations

import httpx
import orjson

from ai_workflow.alerting.channels.channel import Undelivered
from ai_workflow.alerting.channels.http_channel import Body, Protocol, units
from ai_workflow.alerting.messages.markup import DISCORD
from ai_workflow.alerting.messages.rendering import Text
from ai_workflow.alerting.messages.sanitize import clean

# Discord takes 4096 in a description and 256 in a title.
_MAX_UNITS = 4000
_MAX_TITLE_UNITS = 256
_NAME = "ai-workflow"
_COLOURS = {"page": 0xA32037, "ticket": 0xCACF29, "chat": 0x3AA3E3, "resolved": 0x3AA337}


def _title(text: Text) -> str:
    title = text.title
    while units(escaped := DISCORD.escape(title)) > _MAX_TITLE_UNITS:
        title = f"{title[: len(title) * 3 // 4]}…"
    return escaped


def _description(text: Text) -> str:
    return DISCORD.lines(text.lines) or _title(text)


def _body(text: Text) -> Body:
    embed = {
        "title": _title(text),
        "description": _description(text),
        "color": _COLOURS.get(text.grave, _COLOURS["ticket"]),
    }
    return {"username": _NAME, "embeds": [embed], "allowed_mentions": {"parse": []}}


def _judge(answer: httpx.Response) -> None:
    """Take 204, or the message as JSON, which `?wait=true` in the url asks for."""
    if answer.status_code == 204:
        return
    try:
        if "id" in orjson.loads(answer.content):
            return
    except (ValueError, TypeError):
        pass
    raise Undelivered(f"HTTP {answer.status_code} without a message: {clean(answer.text, 200)}")


PROTOCOL = Protocol(_body, lambda text: units(_description(text)) <= _MAX_UNITS, _judge)
