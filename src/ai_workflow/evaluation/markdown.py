"""User text in Markdown, escaped so that it is shown literally: no markup, HTML, images or links."""

from __future__ import annotations

import re

# WORD JOINER: invisible, and no line break is possible at it.
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
    """Return a value as Markdown that shows its text in a paragraph, a list or a table cell."""
    shown = _MARKUP.sub(r"\\\g<0>", line(text)).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _NUMBERED.sub(r"\1\\\2", _AT_START.sub(r"\\", shown))


def code(text: object) -> str:
    """Return a value as inline code; backticks in it are allowed."""
    shown = line(text)
    fence = "`" * (max(map(len, re.findall("`+", shown)), default=0) + 1)
    space = " " if shown[:1] == "`" or shown[-1:] == "`" else ""
    return f"{fence}{space}{shown}{space}{fence}"


def escape_active_markup(text: str) -> str:
    """Return text in which links, images and HTML have no effect, with the same look as plain text.

    One of Prefect's UIs shows table cells as Markdown, the other shows them as text.
    """
    return _ACTIVE.sub(_JOINER, text)
