"""A webhook of one's own: title, message and type as JSON."""

from __future__ import annotations

import httpx

from ai_workflow.alerting.channels.http_channel import Body, Protocol
from ai_workflow.alerting.messages.inert import plain
from ai_workflow.alerting.messages.markup import PLAIN
from ai_workflow.alerting.messages.rendering import Text

_MAX_CHARACTERS = 20_000
TYPES = {"page": "failure", "ticket": "warning", "chat": "info", "resolved": "success"}


def _message(text: Text) -> str:
    return PLAIN.lines(text.lines) or plain(text.title)


def _body(text: Text) -> Body:
    return {
        "version": "1.0",
        "title": plain(text.title),
        "message": _message(text),
        "attachments": [],
        "type": TYPES.get(text.grave, "warning"),
    }


def _judge(_: httpx.Response) -> None:
    """Take any 2xx."""


PROTOCOL = Protocol(_body, lambda text: len(_message(text)) <= _MAX_CHARACTERS, _judge)
