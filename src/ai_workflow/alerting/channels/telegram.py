"""Telegram method sendMessage: HTML without link previews.

https://core.telegram.org/bots/api#sendmessage
"""

from __future__ import annotations

from collections.abc import Mapping

import httpx
import orjson

from ai_workflow.alerting.channels.channel import DeliveryError
from ai_workflow.alerting.channels.http_channel import Body, MessageFormat, utf16_length
from ai_workflow.alerting.messages.markup import TELEGRAM
from ai_workflow.alerting.messages.rendering import Message
from ai_workflow.alerting.messages.sanitize import clean

# Telegram accepts 4096 after entities are parsed.
_MAX_UNITS = 4000


def _text(message: Message) -> str:
    title = TELEGRAM.bold.format(TELEGRAM.escape(message.title))
    body = TELEGRAM.lines(message.lines)
    return f"{title}{TELEGRAM.end}{body}" if body else title


def _check_response(response: httpx.Response) -> None:
    try:
        if orjson.loads(response.content)["ok"] is True:
            return
    except (ValueError, KeyError, TypeError):
        pass
    raise DeliveryError(f"HTTP {response.status_code} without ok: {clean(response.text, 200)}")


def message_format(chat: Mapping[str, object]) -> MessageFormat:
    """Return the format of messages to a chat with this `chat_id` and optional `message_thread_id`."""

    def body(message: Message) -> Body:
        preview = {"is_disabled": True}
        return {**chat, "text": _text(message), "parse_mode": "HTML", "link_preview_options": preview}

    return MessageFormat(body, lambda message: utf16_length(_text(message)) <= _MAX_UNITS, _check_response)
