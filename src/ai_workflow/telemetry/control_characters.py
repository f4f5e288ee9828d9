"""Escaping of control characters, so that untrusted text stays on its line of a log, a table or a terminal."""

from __future__ import annotations

import re

# C0 and C1 with DEL, line and paragraph separators, marks that reorder text, and surrogates, which cannot be printed.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def escape(text: str) -> str:
    r"""Return a text with each control character escaped as in Python, such as `\n` or `\x1b`."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def escape_lines(text: str) -> str:
    """Return a text of several lines with all control characters escaped except line feeds."""
    return "\n".join(map(escape, text.split("\n")))
