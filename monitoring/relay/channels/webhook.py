"""A webhook of one's own: title, message and type as JSON."""

from __future__ import annotations

import httpx

from monitoring.relay.channels.posting import Body, Protocol
from monitoring.relay.inert import plain
from monitoring.relay.markup import PLAIN
from monitoring.relay.rendering import Text

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
