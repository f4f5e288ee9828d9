"""Metric names, matchers and labels in a PromQL expression, found without a full parser."""

from __future__ import annotations

import re
from dataclasses import dataclass

_STRING = r'"(?:[^"\\]|\\.)*"'
# A selector, or a string argument (such as of label_replace), which is skipped.
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
    """Return the selectors of an expression in order, without functions, keywords, labels and durations."""
    # Grouping and join clauses have label names, not metrics.
    bare = _GROUPING.sub(" ", _RANGE.sub(" ", expr))
    result = []
    for match in _SELECTOR.finditer(bare):
        name = match[1]
        if name and name.lower() not in _WORDS and not bare[: match.start()].endswith(tuple("0123456789.")):
            matchers = tuple(
                (label, operator, text[1:-1]) for label, operator, text in _MATCHER.findall(match[2] or "")
            )
            result.append(Selector(name, match[0].strip(), matchers))
    return result


def grouping(expr: str) -> tuple[str, ...]:
    """Return the labels of the first `by (...)` of an expression."""
    match = _BY.search(expr)
    return tuple(label.strip() for label in match[1].split(",")) if match else ()
