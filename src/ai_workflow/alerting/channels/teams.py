"""Microsoft Teams workflow webhook: an adaptive card without entities, and so without mentions.

https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/add-incoming-webhook
"""

from __future__ import annotations

import re

import httpx

from ai_workflow.alerting.channels.channel import DeliveryError, RateLimitedError, RejectedError
from ai_workflow.alerting.channels.http_channel import Body, MessageFormat, size
from ai_workflow.alerting.channels.vendor_delays import DEFAULT_SECONDS
from ai_workflow.alerting.messages.markup import TEAMS
from ai_workflow.alerting.messages.rendering import Message
from ai_workflow.alerting.messages.sanitize import clean

# Teams accepts 28 kB in total.
_MAX_BYTES = 26_000
_ERROR = re.compile(r"(?i)\b(?:failed|error)\b")
_STATUS = re.compile(r"(?i)HTTP error (\d{3})")


def _body(message: Message) -> Body:
    title = {
        "type": "TextBlock",
        "text": TEAMS.escape(message.title),
        "wrap": True,
        "weight": "Bolder",
        "size": "Large",
    }
    content = TEAMS.lines(message.lines) or TEAMS.escape(message.title)
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [title, {"type": "TextBlock", "text": content, "wrap": True}],
        "msteams": {"width": "full"},
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}


def _check_response(response: httpx.Response) -> None:
    """Raise if a 200 response contains an error, such as "... returned HTTP error 413", or an HTML page."""
    if response.status_code == 202 or not response.content:
        return
    reason = f"HTTP {response.status_code}: {clean(response.text, 200)}"
    status = _STATUS.search(response.text)
    if status and status[1] == "429":
        raise RateLimitedError(reason, DEFAULT_SECONDS)
    if status and status[1].startswith("4"):
        raise RejectedError(reason)
    if _ERROR.search(response.text) or response.text.lstrip().startswith("<"):
        raise DeliveryError(reason)


FORMAT = MessageFormat(_body, lambda message: size(_body(message)) <= _MAX_BYTES, _check_response)
