"""The address of a chat, as its vendor shows it -> what writes to it, wherever that address points."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import httpx

from ai_workflow.alerting.channels import discord, slack, teams, telegram, webhook
from ai_workflow.alerting.channels.http_channel import Bot, Protocol, client
from ai_workflow.alerting.messages.markup import Style
from ai_workflow.config.settings import chat_urls
from ai_workflow.errors import AiWorkflowError

_PROTOCOLS = {
    "slack": slack.PROTOCOL,
    "discord": discord.PROTOCOL,
    "teams": teams.PROTOCOL,
    "webhook": webhook.PROTOCOL,
}


class BadAddress(AiWorkflowError):
    """A channel's url is not one of its vendor."""


def bot(kind: str, url: str, secret: str | None, style: Style, seconds: float) -> Bot:
    """Return what writes to the chat.

    Args:
        kind: which vendor.
        url: the chat's address, as the vendor shows it, checked.
        secret: the bearer token of a webhook.
        style: language and time zone.
        seconds: how long a message may take.

    Raises:
        BadAddress: the url is not one of that vendor; it is not shown.
    """
    headers = {"authorization": f"Bearer {secret}"} if secret else {}
    if kind == "telegram":
        url, protocol = _telegram(url)
    else:
        protocol = _PROTOCOLS[kind]
    return Bot(url, protocol, style, client(seconds), headers)


def check(kind: str, url: str) -> None:
    """Raise if a url is not one of a kind.

    Raises:
        BadAddress: why; the url is not shown.
    """
    if problem := chat_urls.refusal(kind, url):
        raise BadAddress(problem)
    try:
        httpx.URL(url)
    except httpx.InvalidURL:
        raise BadAddress(chat_urls.unlike(kind)) from None


def _telegram(url: str) -> tuple[str, Protocol]:
    address = chat_urls.telegram_target(url)
    if address is None:
        raise BadAddress(chat_urls.unlike("telegram"))
    method, query = address
    chat = query["chat_id"][0].strip()
    target: dict[str, object] = {"chat_id": chat if chat.startswith("@") or not chat[0].isalpha() else f"@{chat}"}
    for name in ("message_thread_id", "disable_notification", "protect_content"):
        if name in query:
            target[name] = _json(query[name][0])
    return f"{method}/sendMessage", telegram.protocol(target)


def _json(text: str) -> object:
    """Return a parameter of an address as Telegram's JSON has it."""
    values: Mapping[str, object] = {"true": True, "false": False}
    convert: Callable[[str], object] = int if text.lstrip("-").isdigit() else str
    return values.get(text.lower(), convert(text))
