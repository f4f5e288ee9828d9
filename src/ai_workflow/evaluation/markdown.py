"""Text of users as Markdown shows it as it stands: no markup, no HTML, no images, no links."""

from __future__ import annotations

import re

# Joins two characters without a space or a line break between them, and is not visible.
_JOINER = "\u2060"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_MARKUP = re.compile(r"[\\`*~|#\[\]!]|(?<!\w)_|_(?!\w)")
_AT_START = re.compile(r"^(?=[-+=])")
_NUMBERED = re.compile(r"^(\d+)([.)])(?=\s|$)")
_ACTIVE = re.compile(r"(?<=<)(?=[A-Za-z/!?])|(?<=\])(?=[(\[:])|(?<=!)(?=\[)")


def line(text: object) -> str:
    """Return a value as text without line breaks and control characters."""
    return _CONTROL.sub(" ", str(text))


def escaped(text: object) -> str:
    """Return a value as Markdown that shows its text, in a paragraph, a list or the cell of a table."""
    shown = _MARKUP.sub(r"\\\g<0>", line(text)).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _NUMBERED.sub(r"\1\\\2", _AT_START.sub(r"\\", shown))


def code(text: object) -> str:
    """Return a value as inline code, whatever backticks it holds."""
    shown = line(text)
    fence = "`" * (max(map(len, re.findall("`+", shown)), default=0) + 1)
    space = " " if shown[:1] == "`" or shown[-1:] == "`" else ""
    return f"{fence}{space}{shown}{space}{fence}"


def inert(text: str) -> str:
    """Return text whose markup for links, images and HTML has no effect, and that looks the same without Markdown.

    Prefect shows the cells of tables as Markdown in one of its UIs, and as text in the other.
    """
    return _ACTIVE.sub(_JOINER, text)
