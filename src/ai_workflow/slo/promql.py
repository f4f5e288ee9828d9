"""The names in a PromQL expression: enough of it to find a metric that does not exist."""

from __future__ import annotations

import re
from dataclasses import dataclass

_STRING = r'"(?:[^"\\]|\\.)*"'
# Or a text of its own, such as label_replace takes: what is in it names nothing.
_SELECTOR = re.compile(rf"{_STRING}|([a-zA-Z_:][\w:]*+)(?!\s*\()\s*(\{{(?:[^{{}}\"]|{_STRING})*\}})?")
_MATCHER = re.compile(rf"(\w+)\s*(=~|!~|!=|=)\s*({_STRING})")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^()]*)\)")
_RANGE = re.compile(r"\[[^\]]*\]|\boffset\s+-?\w+")
_WORDS = {"and", "or", "unless", "bool", "by", "without", "on", "ignoring", "group_left", "group_right", "offset",
          "inf", "nan", "start", "end", "atan2"}  # fmt: skip
_BY = re.compile(r"\bby\s*\(([^()]*)\)")


@dataclass(frozen=True, slots=True)
class Selector:
    """A metric and its matchers, such as `{status=~"a|b"}`, each as label, operator and value."""

    metric: str
    text: str
    matchers: tuple[tuple[str, str, str], ...]


def selectors(expr: str) -> list[Selector]:
    """Return every selector of an expression, in order; functions, keywords, labels and durations are none."""
    # What groups and joins names labels, not metrics.
    bare = _GROUPING.sub(" ", _RANGE.sub(" ", expr))
    found = []
    for match in _SELECTOR.finditer(bare):
        name = match[1]
        if name and name.lower() not in _WORDS and not bare[: match.start()].endswith(tuple("0123456789.")):
            matchers = tuple((label, how, text[1:-1]) for label, how, text in _MATCHER.findall(match[2] or ""))
            found.append(Selector(name, match[0].strip(), matchers))
    return found


def grouping(expr: str) -> tuple[str, ...]:
    """Return the labels that the first `by (...)` of an expression keeps."""
    found = _BY.search(expr)
    return tuple(label.strip() for label in found[1].split(",")) if found else ()
