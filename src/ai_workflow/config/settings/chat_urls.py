"""URLs of chat channels: format of each vendor, and checks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qs

from ai_workflow.config.settings import pagers
from ai_workflow.config.settings.config_model import is_http_url

PATTERNS = {
    "slack": r"https?://[^/]+(?:/.+)?/services/\w+/\w+/\w+/?",
    "discord": r"https?://[^/]+(?:/.+)?/webhooks/\w+/[\w-]+/?(?:\?.*)?",
    "telegram": r"(?P<method>https?://[^/]+(?:/.+)?/bot\d+:[\w-]+)(?:/sendMessage)?/?\?(?P<query>.*)",
    "teams": r"https://[^/:?]+(?::\d+)?(?:/powerautomate/automations/direct)?"
    r"(?:/cu/[^/]+)?/workflows/[^/]+/triggers/manual/paths/invoke/?\?(?:.*&)?sig=.+",
    "feishu": r"https?://[^/?#]+(?:/[^?#]+)?/hook/[\w-]+/?(?:\?.*)?",
    "dingtalk": r"https?://[^/?#]+/[^?#]*\?(?:.*&)?access_token=[\w-]+(?:&.*)?",
    "wecom": r"https?://[^/?#]+/[^?#]*\?(?:.*&)?key=[\w-]+(?:&.*)?",
    "webhook": r"https?://[^\s/?#]+\S*",
    "apprise": r"[A-Za-z][A-Za-z0-9+.-]*://\S.*",
}
EXAMPLES = {
    "slack": "https://hooks.slack.com/services/T…/B…/…",
    "discord": "https://discord.com/api/webhooks/ID/TOKEN",
    "telegram": "https://api.telegram.org/botTOKEN/sendMessage?chat_id=ID",
    "teams": "https://….logic.azure.com/workflows/ID/triggers/manual/paths/invoke?…&sig=… (a Workflow)",
    "feishu": "https://open.feishu.cn/open-apis/bot/v2/hook/ID",
    "dingtalk": "https://oapi.dingtalk.com/robot/send?access_token=TOKEN",
    "wecom": "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=KEY",
    "webhook": "https://host/path",
    "apprise": "ntfy://topic",
}
# A second URL after a separator, unlike `=https://` in a query or `/https://` in the path of a proxy.
_SECOND = re.compile(r"[\s,;|]\s*[A-Za-z][A-Za-z0-9+.-]*://")


def refusal(kind: str, url: str) -> str:
    """Return why a URL is not valid for a kind of channel, without the URL; empty if it is.

    URLs of Apprise are checked by form only; `refusal_of_apprise` also checks their schemes.
    """
    if _SECOND.search(url):
        return "url holds several addresses, but a channel has one. Write a channel for each of them"
    if not re.fullmatch(PATTERNS[kind], url) or (kind != "apprise" and not is_http_url(url)):
        return unlike(kind)
    if kind == "telegram" and telegram_target(url) is None:
        return unlike(kind)
    return pagers.refusal([url.partition("://")[0]]) if kind == "apprise" else ""


def refusal_of_apprise(url: str) -> str:
    """Return why Apprise does not support a URL, without the URL; empty if it does. Imports Apprise."""
    if problem := refusal("apprise", url):
        return problem
    from apprise import Apprise

    notifier = Apprise.instantiate(url, suppress_exceptions=True)
    return unlike("apprise") if notifier is None else pagers.refusal(pagers.schemes(notifier))


def unlike(kind: str) -> str:
    """Return the error for a URL that is not valid for a kind, with an example."""
    return f"url does not fit kind {kind}. Use {EXAMPLES[kind]}"


def telegram_target(url: str) -> tuple[str, Mapping[str, list[str]]] | None:
    """Return the URL of the bot and the query of a Telegram URL, None without a chat ID."""
    address = re.fullmatch(PATTERNS["telegram"], url)
    if address is None:
        return None
    query = parse_qs(address["query"])
    chat = query.get("chat_id", [""])[0].strip()
    return (address["method"], query) if re.fullmatch(r"-?\d+|@?[A-Za-z]\w*", chat) else None
