"""Slack incoming webhook: blocks with `verbatim` text.

https://docs.slack.dev/reference/block-kit/composition-objects/message-object
"""

from __future__ import annotations

import httpx

from ai_workflow.alerting.channels.channel import RejectedError
from ai_workflow.alerting.channels.http_channel import Body, MessageFormat, utf16_length
from ai_workflow.alerting.messages.markup import SLACK
from ai_workflow.alerting.messages.neutralize import neutralize_all
from ai_workflow.alerting.messages.rendering import Message
from ai_workflow.alerting.messages.sanitize import clean

# Slack accepts 3000 in a section and 150 in a header.
_MAX_UNITS = 2900
_MAX_TITLE_UNITS = 150
_COLORS = {"page": "#A32037", "ticket": "#CACF29", "chat": "#3AA3E3", "resolved": "#3AA337"}


def _section(message: Message) -> str:
    return SLACK.lines(message.lines) or SLACK.escape(message.title)


def _body(message: Message) -> Body:
    title = neutralize_all(message.title)
    if utf16_length(title) > _MAX_TITLE_UNITS:
        title = f"{title[: _MAX_TITLE_UNITS // 2 - 1]}…"
    blocks = [
        {"type": "header", "text": {"type": "plain_text", "text": title, "emoji": False}},
        # verbatim: Slack does not detect mentions, channels or URLs.
        {"type": "section", "text": {"type": "mrkdwn", "text": _section(message), "verbatim": True}},
    ]
    attachment = {"color": _COLORS.get(message.severity, _COLORS["ticket"]), "blocks": blocks}
    return {"attachments": [attachment], "link_names": False, "unfurl_links": False, "unfurl_media": False}


def _check_response(response: httpx.Response) -> None:
    if response.text.strip() != "ok":
        raise RejectedError(f"HTTP {response.status_code}: {clean(response.text, 200)}")


FORMAT = MessageFormat(_body, lambda message: utf16_length(_section(message)) <= _MAX_UNITS, _check_response)
