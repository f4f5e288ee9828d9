"""The address of a chat, as its vendor shows it -> Apprise's plugin for it, wherever that address points."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from ai_workflow import json_text
from ai_workflow.errors import AiWorkflowError
from monitoring.relay.channels.through_apprise import Form
from monitoring.relay.markup import DISCORD, PLAIN, SLACK, TEAMS, TELEGRAM


def _as_json(text: str) -> int:
    """Return the bytes of a text as Apprise posts it: outside of ASCII, six for each character."""
    return len(json_text.line(text, ensure_ascii=True))


def _units(text: str) -> int:
    """Return the UTF-16 units of a text, which is how chats count: an emoji is two."""
    return len(text.encode("utf-16-le")) // 2


# Slack takes 3000 characters in a section, Telegram 4096 in a message, Discord 4096 in an embed, Teams 28 kB in all.
FORMS = {
    "slack": Form(SLACK, 2900, size=_units),
    "teams": Form(TEAMS, 24_000, "markup", _as_json),
    "discord": Form(DISCORD, 4000, "markup", _units),
    "telegram": Form(TELEGRAM, 4000, "none", _units),
    "webhook": Form(PLAIN, 20_000),
    "apprise": Form(PLAIN, 1900),
}
_SHAPES = {
    "slack": r"(?P<base>https?://[^/]+(?:/.+)?/services)/(?P<a>\w+)/(?P<b>\w+)/(?P<c>\w+)/?$",
    "discord": r"(?P<base>https?://[^/]+(?:/.+)?/webhooks)/(?P<id>\w+)/(?P<token>[\w-]+)/?(?:\?.*)?$",
    "telegram": r"(?P<base>https?://[^/]+(?:/.+)?/bot)(?P<token>\d+:[\w-]+)(?:/sendMessage)?/?\?(?P<query>.*)$",
    "teams": r"https://(?P<host>[^/:?]+)(?::(?P<port>\d+))?(?P<automate>/powerautomate/automations/direct)?"
    r"(?:/cu/(?P<routing>[^/]+))?/workflows/(?P<workflow>[^/]+)/triggers/manual/paths/invoke/?\?(?P<query>.*)$",
    "webhook": r"https?://\S+$",
    "apprise": r"\w+://\S+$",
}
_EXAMPLES = {
    "slack": "https://hooks.slack.com/services/T…/B…/…",
    "discord": "https://discord.com/api/webhooks/ID/TOKEN",
    "telegram": "https://api.telegram.org/botTOKEN/sendMessage?chat_id=ID",
    "teams": "https://….logic.azure.com/workflows/ID/triggers/manual/paths/invoke?…&sig=… (a Workflow)",
    "webhook": "https://host/path",
    "apprise": "ntfy://topic",
}


class BadAddress(AiWorkflowError):
    """A channel's url is not one of its vendor."""


def plugin(kind: str, url: str, secret: str | None, seconds: float) -> Any:
    """Return what writes to the chat.

    Args:
        kind: which vendor.
        url: the chat's address, as the vendor shows it.
        secret: the bearer token of a webhook.
        seconds: how long a message may take.

    Raises:
        BadAddress: the url is not one of that vendor; it is not shown.
    """
    shape = re.match(_SHAPES[kind], url)
    # To be redirected would turn the post into a get, and that into a success. The relay sets the pace.
    options = {"cto": seconds / 3, "rto": seconds / 2, "redirect": False}
    made = None
    if shape:
        try:
            made = _MAKERS[kind](shape.groupdict(), url, secret, options)
        except (TypeError, ValueError, KeyError, IndexError):
            made = None
    if made is None:
        raise BadAddress(f"url is not one of {kind}: {_EXAMPLES[kind]}")
    return made


def _unpaced(plugin_class: Any, **overrides: Any) -> Any:
    return type(plugin_class.__name__, (plugin_class,), {"throttle": lambda *_, **__: None, **overrides})


def _slack(found: Mapping[str, str], _: str, __: str | None, options: dict[str, Any]) -> Any:
    from apprise.plugins.slack import NotifySlack

    made = _unpaced(NotifySlack, webhook_url=found["base"])
    tokens = {f"token_{name}": found[name] for name in "abc"}
    return made(**tokens, use_blocks=True, include_footer=False, include_image=False, **options)


def _discord(found: Mapping[str, str], _: str, __: str | None, options: dict[str, Any]) -> Any:
    from apprise.plugins.discord import NotifyDiscord

    made = _unpaced(NotifyDiscord, notify_url=found["base"])
    # `fields` would break the message up at headings.
    options |= {"fields": False, "avatar": False, "format": "markdown"}
    return made(found["id"], found["token"], **options)


def _telegram(found: Mapping[str, str], _: str, __: str | None, options: dict[str, Any]) -> Any:
    from apprise.plugins.telegram import NotifyTelegram

    query = parse_qs(found["query"])
    topic = query.get("message_thread_id", [None])[0]
    made = _unpaced(NotifyTelegram, notify_url=found["base"])
    return made(found["token"], query["chat_id"], detect_owner=False, topic=topic, preview=False, **options)


def _teams(found: Mapping[str, str], _: str, __: str | None, options: dict[str, Any]) -> Any:
    from apprise.plugins.workflows import NotifyWorkflows

    query = parse_qs(found["query"])
    return _unpaced(NotifyWorkflows)(
        workflow=found["workflow"],
        signature=query["sig"][0],
        version=query.get("api-version", [None])[0],
        power_automate=bool(found["automate"]),
        routing_id=found["routing"],
        include_image=False,
        host=found["host"],
        port=int(found["port"]) if found["port"] else None,
        **options,
    )


def _webhook(_: Mapping[str, str], url: str, secret: str | None, options: dict[str, Any]) -> Any:
    from apprise.plugins.custom_json import NotifyJSON

    parts = urlsplit(url)
    return _unpaced(NotifyJSON)(
        headers={"Authorization": f"Bearer {secret}"} if secret else {},
        params={name: values[0] for name, values in parse_qs(parts.query).items()},
        host=parts.hostname,
        port=parts.port,
        fullpath=parts.path or "/",
        secure=parts.scheme == "https",
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        **options,
    )


def _any(_: Mapping[str, str], url: str, __: str | None, options: dict[str, Any]) -> Any:
    from apprise import Apprise

    made = Apprise.instantiate(url, suppress_exceptions=True)
    if made is not None:
        made.redirects = options["redirect"]
        made.socket_connect_timeout, made.socket_read_timeout = options["cto"], options["rto"]
    return made


_MAKERS: Mapping[str, Callable[..., Any]] = {
    "slack": _slack,
    "discord": _discord,
    "telegram": _telegram,
    "teams": _teams,
    "webhook": _webhook,
    "apprise": _any,
}
