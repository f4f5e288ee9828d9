"""Prometheus durations in seconds, and exact decimal numbers as text."""

from __future__ import annotations

import re
from decimal import Decimal

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
PATTERN = re.compile(r"(\d+)([smhdw])")


def seconds(text: str) -> int:
    """Return the seconds of a duration such as `90s`, `5m` or `3d`.

    Raises:
        ValueError: the text is not a duration.
    """
    match = PATTERN.fullmatch(text)
    if not match:
        raise ValueError(f"`{text}` is not a duration. Write a whole number and s, m, h, d or w, such as 90s or 3d")
    return int(match[1]) * _UNITS[match[2]]


def shortest(number: Decimal) -> str:
    """Return a number without exponent or trailing zeros: `0.0144`, `14.4`, `0`."""
    text = format(number.normalize(), "f")
    return "0" if text == "-0" else text
