"""Webhook URLs of chat vendors: validation, and the backend of each URL."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import httpx

from ai_workflow.alerting.channels import discord, slack, teams, telegram, webhook
from ai_workflow.alerting.channels.http_channel import MessageFormat, WebhookBackend, client
from ai_workflow.alerting.messages.markup import Style
from ai_workflow.config.settings import chat_urls
from ai_workflow.errors import AiWorkflowError

_FORMATS = {
    "slack": slack.FORMAT,
    "discord": discord.FORMAT,
    "teams": teams.FORMAT,
    "webhook": webhook.FORMAT,
}


class ChannelURLError(AiWorkflowError):
    """The URL of a channel does not belong to its vendor."""


def create_backend(kind: str, url: str, secret: str | None, style: Style, timeout_seconds: float) -> WebhookBackend:
    """Return the client of a chat.

    Args:
        kind: vendor.
        url: validated webhook URL.
        secret: bearer token of a webhook, or None.
        style: language and time zone.
        timeout_seconds: timeout of a message.

    Raises:
        ChannelURLError: the URL does not belong to the vendor. It is not shown.
    """
    headers = {"authorization": f"Bearer {secret}"} if secret else {}
    if kind == "telegram":
        url, message_format = _telegram(url)
    else:
        message_format = _FORMATS[kind]
    return WebhookBackend(url, message_format, style, client(timeout_seconds), headers)


def check(kind: str, url: str) -> None:
    """Check that a URL belongs to a vendor.

    Raises:
        ChannelURLError: the reason. The URL is not shown.
    """
    if problem := chat_urls.refusal(kind, url):
        raise ChannelURLError(problem)
    try:
        httpx.URL(url)
    except httpx.InvalidURL:
        raise ChannelURLError(chat_urls.unlike(kind)) from None


def _telegram(url: str) -> tuple[str, MessageFormat]:
    parts = chat_urls.telegram_target(url)
    if parts is None:
        raise ChannelURLError(chat_urls.unlike("telegram"))
    method, query = parts
    chat = query["chat_id"][0].strip()
    target: dict[str, object] = {"chat_id": chat if chat.startswith("@") or not chat[0].isalpha() else f"@{chat}"}
    for name in ("message_thread_id", "disable_notification", "protect_content"):
        if name in query:
            target[name] = _json(query[name][0])
    return f"{method}/sendMessage", telegram.message_format(target)


def _json(text: str) -> object:
    """Return a query parameter with its type in the JSON of Telegram."""
    values: Mapping[str, object] = {"true": True, "false": False}
    convert: Callable[[str], object] = int if text.lstrip("-").isdigit() else str
    return values.get(text.lower(), convert(text))
