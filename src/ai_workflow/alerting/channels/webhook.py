"""Generic webhook: title, message and type as JSON."""

from __future__ import annotations

import httpx

from ai_workflow.alerting.channels.http_channel import Body, MessageFormat
from ai_workflow.alerting.messages.markup import PLAIN
from ai_workflow.alerting.messages.neutralize import neutralize_all
from ai_workflow.alerting.messages.rendering import Message

_MAX_CHARACTERS = 20_000
TYPES = {"page": "failure", "ticket": "warning", "chat": "info", "resolved": "success"}


def _message(message: Message) -> str:
    return PLAIN.lines(message.lines) or neutralize_all(message.title)


def _body(message: Message) -> Body:
    return {
        "version": "1.0",
        "title": neutralize_all(message.title),
        "message": _message(message),
        "attachments": [],
        "type": TYPES.get(message.severity, "warning"),
    }


def _check_response(_: httpx.Response) -> None:
    """Accept any 2xx response."""


FORMAT = MessageFormat(_body, lambda message: len(_message(message)) <= _MAX_CHARACTERS, _check_response)
