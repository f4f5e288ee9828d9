"""What each vendor's documentation calls a mention, a command or a link -> those that a message on the wire holds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from typing import Any

# The links that the relay writes itself.
LINK_TEXTS = {"Runbook", "Dashboard", "Prefect run", "Silence", "处理手册", "仪表盘", "Prefect 运行", "静默"}

_ADDRESS = re.compile(r"[A-Za-z][\w+.-]*://\w|\b(?:mailto|tel|javascript):\w")
_HOST = re.compile(r"[A-Za-z0-9]\.[A-Za-z]{2,}")


def _bad_links(pairs: list[tuple[str, str]]) -> Iterator[str]:
    for text, url in pairs:
        if text not in LINK_TEXTS or not re.match(r"https?://\w", url) or re.search(r"[@!<>\s]", url):
            yield f"link {text!r} {url!r}"


def _markdown(text: str) -> Iterator[str]:
    """CommonMark: backslash escapes, inline links, autolinks of addresses."""
    shown = re.sub(r"\\[!-/:-@\[-`{-~]", "", text)
    link = re.compile(r"\[([^\]]*)\]\(([^)]*)\)")
    yield from _bad_links(link.findall(shown))
    rest = link.sub("", shown)
    yield from (f"address {found}" for found in _ADDRESS.findall(rest))
    yield from (f"tag {found}" for found in re.findall(r"<[^ ]", rest))


def slack(body: dict[str, Any]) -> Iterator[str]:
    """`<@U>`, `<#C>`, `<!channel>`, `<url|text>`; without `verbatim` also addresses, @names and #channels."""
    if body.get("link_names") or body.get("text"):
        yield "names are linked"
    header, section = (block["text"] for block in body["attachments"][0]["blocks"])
    if header["type"] != "plain_text" or section["verbatim"] is not True:
        yield "Slack parses the text"
    for found in re.findall(r"<([^>]*)>?", section["text"]):
        url, _, text = found.partition("|")
        yield from _bad_links([(text, url)])


def discord(body: dict[str, Any]) -> Iterator[str]:
    """`@everyone`, `@here`, `<@id>`, `<@&id>`, `<#id>`, `</name:id>`; `allowed_mentions` decides who is notified."""
    if body.get("allowed_mentions") != {"parse": []} or "content" in body:
        yield "mentions are allowed"
    embed = body["embeds"][0]
    if "author" in embed or "avatar_url" in body or body["username"] != "ai-workflow":
        yield "another sender"
    for text in (embed["title"], embed["description"]):
        yield from _markdown(text)
        shown = re.sub(r"\\[!-/:-@\[-`{-~]", "", text)
        yield from re.findall(r"@(?:everyone|here)|<(?:@[!&]?|#)\d+>|</[\w ]+:\d+>", shown)


class _Telegram(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.links: list[tuple[str, str]] = []
        self.tags: set[str] = set()
        self._url = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self._url = dict(attrs).get("href") or "" if tag == "a" else ""

    def handle_endtag(self, tag: str) -> None:
        self._url = ""

    def handle_data(self, data: str) -> None:
        if self._url:
            self.links.append((data, self._url))
        else:
            self.texts.append(data)


def telegram(body: dict[str, Any]) -> Iterator[str]:
    """MessageEntity: mention, hashtag, cashtag, bot_command, url, email, phone_number, text_link, text_mention."""
    parser = _Telegram()
    parser.feed(body["text"])
    parser.close()
    yield from (f"tag {tag}" for tag in parser.tags - {"a", "b"})
    yield from _bad_links(parser.links)
    entities = [r"@\w", r"#\w", r"(?<!\w)\$[A-Za-z]", r"(?<![\w/<>])/\w", r"(?<!\w)\+\d[\d ().-]{6}"]
    for text in parser.texts:
        for entity in (*entities, _ADDRESS.pattern, _HOST.pattern):
            yield from (f"{entity} {found}" for found in re.findall(entity, text))


def teams(body: dict[str, Any]) -> Iterator[str]:
    """`<at>name</at>` with an entity of type mention; Markdown in text blocks."""
    card = body["attachments"][0]["content"]
    if card["msteams"].get("entities") or "actions" in card:
        yield "entities"
    for block in card["body"]:
        yield from _markdown(block["text"])
        yield from re.findall(r"(?i)</?at\b", block["text"])


def dingtalk(body: dict[str, Any]) -> Iterator[str]:
    """`at` beside the message, with the number of a mobile after `@` in the text; Markdown."""
    if "at" in body:
        yield "at"
    yield from re.findall(r"@\w", body["markdown"]["text"] + body["markdown"]["title"])
    yield from _markdown(body["markdown"]["text"])


def feishu(body: dict[str, Any]) -> Iterator[str]:
    """`<at id=…></at>`, `<a href=…>`, `[text](url)`; numeric entities stand for characters."""
    (element,) = body["card"]["elements"]
    if body["card"]["header"]["title"]["tag"] != "plain_text":
        yield "markup in the title"
    yield from _markdown(element["content"])
    yield from re.findall(r"<", element["content"])
    yield from re.findall(r"</?\w", body["card"]["header"]["title"]["content"])


def wecom(body: dict[str, Any]) -> Iterator[str]:
    """`<@id>`, `<font>`, `[text](url)`."""
    yield from re.findall(r"<", body["markdown"]["content"])
    yield from _markdown(body["markdown"]["content"])


def unknown(*texts: str) -> Iterator[str]:
    """The mentions of all chats that an address of Apprise reaches; links are addresses after their name."""
    for text in texts:
        words = "|".join(map(re.escape, LINK_TEXTS))
        rest = re.sub(rf"(?:{words}): https?://\w[^\s@<>]*", "", text)
        yield from re.findall(r"@[\w*]|<[\w@!#/]|#\w|(?<![\w/])/\w|(?<!\w)~\w|\]\(|\[CQ:|\((?:met|rol|chn)\)", rest)
        yield from _ADDRESS.findall(rest)
        yield from _HOST.findall(rest)


def webhook(body: dict[str, Any]) -> Iterator[str]:
    """No vendor is known."""
    yield from unknown(body["title"], body["message"])


ORACLES: dict[str, Callable[[dict[str, Any]], Iterator[str]]] = {
    "slack": slack, "discord": discord, "telegram": telegram, "teams": teams, "dingtalk": dingtalk,
    "feishu": feishu, "wecom": wecom, "webhook": webhook,
}  # fmt: skip
