"""Shapes of times, fractions, bounds and other quantities, which no notation of a column reads as numbers."""

from __future__ import annotations

import re

_NUMBER = r"[+-]?\d+(?:[.,]\d+)*"
_UNIT_OF_TIME = r"(?:d|days?|h|hrs?|hours?|std\.?|m|mins?|minutes?|s|secs?|seconds?|ms)"
_SHAPES = (
    # 12:30, 1:05:30.5, 9:15 pm, 2 days 03:00:00
    r"(?:-?\d+ days?,? )?-?\d{1,4}:[0-5]\d(?::[0-5]\d(?:[.,]\d+)?)?(?: ?[ap]\.?m\.?| Uhr)?",
    # 2h30m, 2 h 30 min, and the durations of ISO 8601
    rf"(?:\d+(?:[.,]\d+)? ?{_UNIT_OF_TIME},? ?){{2,}}",
    r"-?P(?=.)(?:\d+(?:[.,]\d+)?[YMWD])*(?:T(?:\d+(?:[.,]\d+)?[HMS])+)?",
    # 1/2, 1 1/2, ½, 1¼
    r"(?:\d+[ -])?\d+ ?[/⁄] ?\d+|\d* ?[¼-¾⅐-⅞]",
    # 0x1F, 1.5x10^3, 1.5×10³, 1.5D+03
    rf"[+-]?0x[0-9a-f]+|{_NUMBER} ?[x×*·] ?10 ?(?:(?:\^|\*\*) ?[+-]?\d+|[⁺⁻]?[⁰¹²³⁴-⁹]+)|{_NUMBER}d[+-]?\d+",
    # <5, >= 100 mg, ~5, ca. 5, 5 +/- 0.2, (0, 10]
    rf"(?:[<>≤≥~≈±]=?|ca\.?|circa|approx\.?|about|max\.?|min\.?|up to|bis) ?{_NUMBER}(?: ?[^\W\d]{{1,8}}| ?%)?",
    rf"{_NUMBER} ?(?:±|\+/-) ?{_NUMBER}|[\[(] ?{_NUMBER} ?[,;] ?{_NUMBER} ?[\])]",
    # $1.5M, ₹5,000/-, 5€50, 1_000, "5", '5, ="5"
    rf"[$€£¥₹] ?{_NUMBER} ?(?:k|m|mm|mn|mio|bn|b|mrd)\.?|[$€£¥₹] ?{_NUMBER}/-|\d+[€$£]\d\d|\d{{1,3}}(?:_\d{{3}})+",
    rf'="{_NUMBER}"|"{_NUMBER}"|[\'’]{_NUMBER}[\'’]?',
    # 5'11", 48°51'24"N
    r"\d+['′] ?\d+(?:[.,]\d+)?(?:\"|″|'')?|\d+(?:[.,]\d+)?°[\d'\"′″., ]*[NSEWO]?",
)  # fmt: skip
_PATTERN = re.compile("|".join(f"(?:{shape})" for shape in _SHAPES), re.IGNORECASE)
_MAX_LENGTH = 40


def is_measure(cell: str) -> bool:
    """Return whether a text has the shape of a quantity that is no number in any notation."""
    return len(cell) <= _MAX_LENGTH and _PATTERN.fullmatch(cell) is not None
