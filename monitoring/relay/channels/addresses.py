"""The address of a chat, as its vendor shows it -> what writes to it, wherever that address points."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from urllib.parse import parse_qs

import httpx

from ai_workflow.errors import AiWorkflowError
from monitoring.relay.channels import discord, slack, teams, telegram, webhook
from monitoring.relay.channels.posting import Bot, Protocol, client
from monitoring.relay.markup import Style

_SHAPES = {
    "slack": r"https?://[^/]+(?:/.+)?/services/\w+/\w+/\w+/?$",
    "discord": r"https?://[^/]+(?:/.+)?/webhooks/\w+/[\w-]+/?(?:\?.*)?$",
    "telegram": r"(?P<method>https?://[^/]+(?:/.+)?/bot\d+:[\w-]+)(?:/sendMessage)?/?\?(?P<query>.*)$",
    "teams": r"https://[^/:?]+(?::\d+)?(?:/powerautomate/automations/direct)?"
    r"(?:/cu/[^/]+)?/workflows/[^/]+/triggers/manual/paths/invoke/?\?(?:.*&)?sig=.+$",
    "webhook": r"https?://[^\s/?#]+\S*$",
}
_EXAMPLES = {
    "slack": "https://hooks.slack.com/services/T…/B…/…",
    "discord": "https://discord.com/api/webhooks/ID/TOKEN",
    "telegram": "https://api.telegram.org/botTOKEN/sendMessage?chat_id=ID",
    "teams": "https://….logic.azure.com/workflows/ID/triggers/manual/paths/invoke?…&sig=… (a Workflow)",
    "webhook": "https://host/path",
    "apprise": "ntfy://topic",
}
_PROTOCOLS = {
    "slack": slack.PROTOCOL,
    "discord": discord.PROTOCOL,
    "teams": teams.PROTOCOL,
    "webhook": webhook.PROTOCOL,
}


class BadAddress(AiWorkflowError):
    """A channel's url is not one of its vendor."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"url is not one of {kind}: {_EXAMPLES[kind]}")


def bot(kind: str, url: str, secret: str | None, style: Style, seconds: float) -> Bot:
    """Return what writes to the chat.

    Args:
        kind: which vendor.
        url: the chat's address, as the vendor shows it.
        secret: the bearer token of a webhook.
        style: language and time zone.
        seconds: how long a message may take.

    Raises:
        BadAddress: the url is not one of that vendor; it is not shown.
    """
    address = re.match(_SHAPES[kind], url)
    if not address:
        raise BadAddress(kind)
    try:
        httpx.URL(url)
    except httpx.InvalidURL:
        raise BadAddress(kind) from None
    headers = {"authorization": f"Bearer {secret}"} if secret else {}
    if kind == "telegram":
        url, protocol = _telegram(address.groupdict())
    else:
        protocol = _PROTOCOLS[kind]
    return Bot(url, protocol, style, client(seconds), headers)


def _telegram(address: Mapping[str, str]) -> tuple[str, Protocol]:
    query = parse_qs(address["query"])
    chat = query.get("chat_id", [""])[0].strip()
    if not re.fullmatch(r"-?\d+|@?[A-Za-z]\w*", chat):
        raise BadAddress("telegram")
    target: dict[str, object] = {"chat_id": chat if chat.startswith("@") or not chat[0].isalpha() else f"@{chat}"}
    for name in ("message_thread_id", "disable_notification", "protect_content"):
        if name in query:
            target[name] = _json(query[name][0])
    return f"{address['method']}/sendMessage", telegram.protocol(target)


def _json(text: str) -> object:
    """Return a parameter of an address as Telegram's JSON has it."""
    values: Mapping[str, object] = {"true": True, "false": False}
    convert: Callable[[str], object] = int if text.lstrip("-").isdigit() else str
    return values.get(text.lower(), convert(text))
