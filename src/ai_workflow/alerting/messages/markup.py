"""The markup of each vendor: how it writes bold and links, and how text is escaped."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from ai_workflow.alerting.messages.catalogue import Language
from ai_workflow.alerting.messages.inert import JOINER, inert, plain
from ai_workflow.alerting.messages.notification import Notice
from ai_workflow.alerting.messages.rendering import Line, Piece, Room, Text, render


@dataclass(frozen=True, slots=True)
class Markup:
    """One vendor's markup.

    Args:
        escape: makes a plain text show as it is.
        bold: how an escaped text is made bold; `{}` is the text.
        link: how a link is written; `{text}` and `{url}`.
        end: what ends a line.
        url: makes an address fit for `link`.
    """

    escape: Callable[[str], str]
    bold: str
    link: str
    end: str = "\n"
    url: Callable[[str], str] = str

    def lines(self, lines: tuple[Line, ...]) -> str:
        """Return lines as this vendor reads them."""
        said = ["".join(map(self._piece, line)) for line in lines]
        # Where every line is a paragraph, an empty one is none.
        return self.end.join(said if self.end == "\n" else filter(None, said))

    def _piece(self, piece: Piece) -> str:
        said = self.escape(piece.text)
        if piece.url:
            return self.link.format(text=said, url=self.url(piece.url))
        if piece.bold and said:
            return self.bold.format(said)
        return said


def _slack(text: str) -> str:
    return re.sub(r"(?<!\w)([*_~`])", rf"{JOINER}\1", html.escape(inert(text), quote=False))


def _telegram(text: str) -> str:
    return html.escape(inert(text))


def _markdown(text: str) -> str:
    """Escape markup with backslashes; no HTML, and no list, heading or quote at the beginning of a line."""
    escaped = re.sub(r"([\\`*~|#\[\]]|(?<!\w)_|_(?!\w))", r"\\\1", inert(text)).replace("<", "&lt;")
    return _at_start(escaped)


def _discord(text: str) -> str:
    # Discord knows no entities, but backslashes before anything.
    return _markdown(text).replace("&lt;", "\\<")


def _at_start(text: str) -> str:
    return re.sub(r"^(\s*)(>|[-+](?=[\s\\])|\d+[.)](?=\s))", rf"\1{JOINER}\2", text)


def _entities(text: str) -> str:
    """Replace markup by numeric entities, as Feishu documents."""
    return _at_start(re.sub(r"[\\`*_~<>\[\]#&]", lambda found: f"&#{ord(found.group())};", inert(text)))


_WIDE = str.maketrans({char: chr(ord(char) + 0xFEE0) for char in "<>[]*`#"})


def _wide(text: str) -> str:
    """Replace markup by full-width characters, where nothing escapes it."""
    return _at_start(inert(text).translate(_WIDE))


SLACK = Markup(_slack, "*{}*", "<{url}|{text}>", url=lambda url: html.escape(url, quote=False))
DISCORD = Markup(_discord, "**{}**", "[{text}]({url})")
TELEGRAM = Markup(_telegram, "<b>{}</b>", '<a href="{url}">{text}</a>', url=html.escape)
# An empty line between lines: with a single break they would run together.
TEAMS = Markup(_markdown, "**{}**", "[{text}]({url})", "\n\n")
DINGTALK = Markup(_markdown, "**{}**", "[{text}]({url})", "\n\n")
FEISHU = Markup(_entities, "**{}**", "[{text}]({url})")
WECOM = Markup(_wide, "**{}**", "[{text}]({url})")
PLAIN = Markup(plain, "{}", "{text}: {url}")


@dataclass(frozen=True, slots=True)
class Style:
    """How a channel wants its messages: its language and time zone."""

    language: Language = "en"
    zone: str = "UTC"


def fitted(notice: Notice, style: Style, fits: Callable[[Text], bool]) -> Text:
    """Return the longest text of a notice that fits: fewer alerts first, then shorter summaries, then no links.

    The shortest of all is returned where nothing fits. Call it in a thread: it renders the notice up to 14 times.
    """
    rooms = [Room(alerts) for alerts in range(min(Room().alerts, len(notice.alerts)), 0, -1)]
    rooms += [Room(1, 200), Room(1, 80), Room(1, 200, links=False), Room(1, 0, links=False)]
    text = render(notice, style.language, style.zone, rooms[0])
    for room in rooms[1:]:
        if fits(text):
            return text
        text = render(notice, style.language, style.zone, room)
    return text if fits(text) else replace(text, lines=())
