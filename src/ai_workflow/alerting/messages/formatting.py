"""Numbers with units, timestamps and durations as text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

_RATIOS = {"ratio", "percentunit"}
_SYMBOLS = {"percent": " %", "seconds": " s", "second": " s", "milliseconds": " ms"}
_UNIT_SECONDS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def number(text: str, unit: str) -> str:
    """Return a number with its unit: 0.0213 of unit `ratio` is `2.13 %`.

    Other texts are returned unchanged.
    """
    try:
        value = float(text)
    except ValueError:
        return text
    if not math.isfinite(value):
        return text
    if unit in _RATIOS:
        return f"{_short(value * 100)} %"
    if not unit or unit in {"none", "short"}:
        return _short(value)
    return f"{_short(value)}{_SYMBOLS.get(unit, f' {unit}')}"


def timestamp(time: datetime, zone: str) -> str:
    """Return a timestamp in a time zone, such as `2025-01-15 10:23:45 UTC+8`."""
    local = time.astimezone(ZoneInfo(zone))
    offset = (local.utcoffset() or timedelta()) // timedelta(minutes=1)
    hours, minutes = divmod(abs(offset), 60)
    sign = "-" if offset < 0 else "+"
    shift = f"{sign}{hours}" + (f":{minutes:02}" if minutes else "") if offset else ""
    return f"{local:%Y-%m-%d %H:%M:%S} UTC{shift}"


def duration(span: timedelta, units: Mapping[str, str]) -> str:
    """Return a duration in its two largest units, such as `1 h 20 min`."""
    remaining = max(0, round(span.total_seconds()))
    parts: list[str] = []
    for name, seconds in _UNIT_SECONDS:
        count, remaining = divmod(remaining, seconds)
        if count or (name == "s" and not parts):
            parts.append(units[name].format(count=count))
    return " ".join(parts[:2])


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 10_000 and value == round(value) else f"{value:.4g}"
