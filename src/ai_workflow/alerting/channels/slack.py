"""Slack's incoming webhook: blocks, in which only the markup of this project counts.

https://docs.slack.dev/reference/block-kit/composition-objects/text-object
"""

from __future__ import annotations

import httpx

from ai_workflow.alerting.channels.channel import Refused
from ai_workflow.alerting.channels.http_channel import Body, Protocol, units
from ai_workflow.alerting.messages.inert import plain
from ai_workflow.alerting.messages.markup import SLACK
from ai_workflow.alerting.messages.rendering import Text
from ai_workflow.alerting.messages.sanitize import clean

# Slack takes 3000 in a section, and 150 in a header.
_MAX_UNITS = 2900
_MAX_TITLE_UNITS = 150
_COLOURS = {"page": "#A32037", "ticket": "#CACF29", "chat": "#3AA3E3", "resolved": "#3AA337"}


def _section(text: Text) -> str:
    return SLACK.lines(text.lines) or SLACK.escape(text.title)


def _body(text: Text) -> Body:
    title = plain(text.title)
    if units(title) > _MAX_TITLE_UNITS:
        title = f"{title[: _MAX_TITLE_UNITS // 2 - 1]}…"
    blocks = [
        {"type": "header", "text": {"type": "plain_text", "text": title, "emoji": False}},
        # verbatim: Slack looks for no mention, channel or address by itself.
        {"type": "section", "text": {"type": "mrkdwn", "text": _section(text), "verbatim": True}},
    ]
    attachment = {"color": _COLOURS.get(text.grave, _COLOURS["ticket"]), "blocks": blocks}
    return {"attachments": [attachment], "link_names": False, "unfurl_links": False, "unfurl_media": False}


def _judge(answer: httpx.Response) -> None:
    if answer.text.strip() != "ok":
        raise Refused(f"HTTP {answer.status_code}: {clean(answer.text, 200)}")


PROTOCOL = Protocol(_body, lambda text: units(_section(text)) <= _MAX_UNITS, _judge)
