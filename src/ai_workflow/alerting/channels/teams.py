"""The webhook of a Workflow of Microsoft Teams: an adaptive card without entities, so without mentions.

https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/add-incoming-webhook
"""

from __future__ import annotations

import re

import httpx

from ai_workflow.alerting.channels.channel import Refused, TooFast, Undelivered
from ai_workflow.alerting.channels.http_channel import Body, Protocol, size
from ai_workflow.alerting.channels.rate_limits import DEFAULT_SECONDS
from ai_workflow.alerting.messages.markup import TEAMS
from ai_workflow.alerting.messages.rendering import Text
from ai_workflow.alerting.messages.sanitize import clean

# Teams takes 28 kB in all.
_MAX_BYTES = 26_000
_ERROR = re.compile(r"(?i)\b(?:failed|error)\b")
_STATUS = re.compile(r"(?i)HTTP error (\d{3})")


def _body(text: Text) -> Body:
    title = {"type": "TextBlock", "text": TEAMS.escape(text.title), "wrap": True, "weight": "Bolder", "size": "Large"}
    shown = TEAMS.lines(text.lines) or TEAMS.escape(text.title)
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [title, {"type": "TextBlock", "text": shown, "wrap": True}],
        "msteams": {"width": "full"},
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}


def _judge(answer: httpx.Response) -> None:
    """Raise where the answer is 200 and its text an error, as "... returned HTTP error 413", or a page."""
    if answer.status_code == 202 or not answer.content:
        return
    reason = f"HTTP {answer.status_code}: {clean(answer.text, 200)}"
    status = _STATUS.search(answer.text)
    if status and status[1] == "429":
        raise TooFast(reason, DEFAULT_SECONDS)
    if status and status[1].startswith("4"):
        raise Refused(reason)
    if _ERROR.search(answer.text) or answer.text.lstrip().startswith("<"):
        raise Undelivered(reason)


PROTOCOL = Protocol(_body, lambda text: size(_body(text)) <= _MAX_BYTES, _judge)
