"""Markup of each vendor: bold text, links and escaping."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from ai_workflow.alerting.messages.catalogue import Language
from ai_workflow.alerting.messages.neutralize import JOINER, neutralize, neutralize_all
from ai_workflow.alerting.messages.notification import Notification
from ai_workflow.alerting.messages.rendering import MAX_SHOWN_ALERTS, Line, Message, SizeBudget, Span, render


@dataclass(frozen=True, slots=True)
class Markup:
    """Markup of one vendor.

    Args:
        escape: escapes neutralize_all text.
        bold: format of bold text; `{}` is the escaped text.
        link: format of a link, with `{text}` and `{url}`.
        end: line separator.
        url: escapes a URL for `link`.
    """

    escape: Callable[[str], str]
    bold: str
    link: str
    end: str = "\n"
    url: Callable[[str], str] = str

    def lines(self, lines: tuple[Line, ...]) -> str:
        """Return lines in the markup of this vendor."""
        texts = ["".join(map(self._span, line)) for line in lines]
        # Empty lines are left out if every line is a paragraph.
        return self.end.join(texts if self.end == "\n" else filter(None, texts))

    def _span(self, span: Span) -> str:
        text = self.escape(span.text)
        if span.url:
            return self.link.format(text=text, url=self.url(span.url))
        if span.bold and text:
            return self.bold.format(text)
        return text


def _slack(text: str) -> str:
    return re.sub(r"(?<!\w)([*_~`])", rf"{JOINER}\1", html.escape(neutralize(text), quote=False))


def _telegram(text: str) -> str:
    return html.escape(neutralize(text))


def _markdown(text: str) -> str:
    """Escape markup with backslashes.

    No HTML, and no list, heading or quote at the beginning of a line.
    """
    escaped = re.sub(r"([\\`*~|#\[\]]|(?<!\w)_|_(?!\w))", r"\\\1", neutralize(text)).replace("<", "&lt;")
    return _at_start(escaped)


def _discord(text: str) -> str:
    # Discord has no HTML entities, but accepts a backslash before any character.
    return _markdown(text).replace("&lt;", "\\<")


def _at_start(text: str) -> str:
    return re.sub(r"^(\s*)(>|[-+](?=[\s\\])|\d+[.)](?=\s))", rf"\1{JOINER}\2", text)


def _entities(text: str) -> str:
    """Replace markup by numeric entities, as documented by Feishu."""
    return _at_start(re.sub(r"[\\`*_~<>\[\]#&]", lambda match: f"&#{ord(match.group())};", neutralize(text)))


_WIDE = str.maketrans({char: chr(ord(char) + 0xFEE0) for char in "<>[]*`#"})


def _wide(text: str) -> str:
    """Replace markup by full-width characters, for vendors without escape sequences."""
    return _at_start(neutralize(text).translate(_WIDE))


SLACK = Markup(_slack, "*{}*", "<{url}|{text}>", url=lambda url: html.escape(url, quote=False))
DISCORD = Markup(_discord, "**{}**", "[{text}]({url})")
TELEGRAM = Markup(_telegram, "<b>{}</b>", '<a href="{url}">{text}</a>', url=html.escape)
# With a single line break, Teams and DingTalk would join the lines.
TEAMS = Markup(_markdown, "**{}**", "[{text}]({url})", "\n\n")
DINGTALK = Markup(_markdown, "**{}**", "[{text}]({url})", "\n\n")
FEISHU = Markup(_entities, "**{}**", "[{text}]({url})")
WECOM = Markup(_wide, "**{}**", "[{text}]({url})")
PLAIN = Markup(neutralize_all, "{}", "{text}: {url}")


@dataclass(frozen=True, slots=True)
class Style:
    """Language and time zone of the messages of a channel."""

    language: Language = "en"
    zone: str = "UTC"


def fit_to_limit(notification: Notification, style: Style, fits: Callable[[Message], bool]) -> Message:
    """Return the longest message that fits: first with fewer alerts, then shorter summaries, then no links.

    If none fits, return the title only. Call it in a thread, because it renders up to 14 messages.
    """
    budgets = [SizeBudget(alerts) for alerts in range(min(MAX_SHOWN_ALERTS, len(notification.alerts)), 0, -1)]
    budgets += [
        SizeBudget(1, 200), SizeBudget(1, 80), SizeBudget(1, 200, links=False), SizeBudget(1, 0, links=False),
    ]  # fmt: skip
    for budget in budgets:
        message = render(notification, style.language, style.zone, budget)
        if fits(message):
            return message
    return replace(message, lines=())
