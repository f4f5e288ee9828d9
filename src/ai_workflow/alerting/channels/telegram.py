"""Telegram's method sendMessage: HTML, without a preview of links.

https://core.telegram.org/bots/api#sendmessage
"""

from __future__ import annotations

from collections.abc import Mapping

import httpx
import orjson

from ai_workflow.alerting.channels.channel import Undelivered
from ai_workflow.alerting.channels.http_channel import Body, Protocol, units
from ai_workflow.alerting.messages.markup import TELEGRAM
from ai_workflow.alerting.messages.rendering import Text
from ai_workflow.alerting.messages.sanitize import clean

# Telegram takes 4096 once entities are parsed; with markup it is more.
_MAX_UNITS = 4000


def _text(text: Text) -> str:
    title = TELEGRAM.bold.format(TELEGRAM.escape(text.title))
    body = TELEGRAM.lines(text.lines)
    return f"{title}{TELEGRAM.end}{body}" if body else title


def _judge(answer: httpx.Response) -> None:
    try:
        if orjson.loads(answer.content)["ok"] is True:
            return
    except (ValueError, KeyError, TypeError):
        pass
    raise Undelivered(f"HTTP {answer.status_code} without ok: {clean(answer.text, 200)}")


def protocol(chat: Mapping[str, object]) -> Protocol:
    """Return the protocol of one chat, which `chat_id` and perhaps `message_thread_id` name."""

    def body(text: Text) -> Body:
        preview = {"is_disabled": True}
        return {**chat, "text": _text(text), "parse_mode": "HTML", "link_preview_options": preview}

    return Protocol(body, lambda text: units(_text(text)) <= _MAX_UNITS, _judge)
