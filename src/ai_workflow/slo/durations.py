"""Prometheus durations and exact numbers: `1h` to seconds and back, a Decimal as its shortest text."""

from __future__ import annotations

import re
from decimal import Decimal

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
PATTERN = re.compile(r"(\d+)([smhdw])")


def seconds(text: str) -> int:
    """Return how many seconds a duration such as `90s`, `5m` or `3d` lasts.

    Raises:
        ValueError: it is no such duration.
    """
    found = PATTERN.fullmatch(text)
    if not found:
        raise ValueError(f"`{text}` is no duration; write a whole number and s, m, h, d or w, such as 90s or 3d")
    return int(found[1]) * _UNITS[found[2]]


def shortest(number: Decimal) -> str:
    """Return a number without exponent or trailing zeros: `0.0144`, `14.4`, `0`."""
    text = format(number.normalize(), "f")
    return "0" if text == "-0" else text
