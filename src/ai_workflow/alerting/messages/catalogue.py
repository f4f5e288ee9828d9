"""What messages say, in English and Chinese: words, numbers with their unit, moments and durations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

Language = Literal["en", "zh"]


@dataclass(frozen=True, slots=True)
class Words:
    """The words of one language; `{}` takes what changes."""

    severities: Mapping[str, str]
    resolved: str
    firing_count: str
    resolved_count: str
    number: str
    last_number: str
    objective: str
    since: str
    lasted: str
    trace: str
    more: str
    links: Mapping[str, str]
    units: Mapping[str, str]
    comma: str
    dot: str


ENGLISH = Words(
    severities={"page": "PAGE", "ticket": "TICKET", "chat": "NOTE"},
    resolved="RESOLVED",
    firing_count="{} firing",
    resolved_count="{} resolved",
    number="now {}",
    last_number="was {}",
    objective="objective {}",
    since="since {}",
    lasted="resolved after {}, {} to {}",
    trace="trace {}",
    more="+{} more",
    links={"runbook": "Runbook", "dashboard": "Dashboard", "run": "Prefect run", "silence": "Silence"},
    units={"d": "{} d", "h": "{} h", "min": "{} min", "s": "{} s"},
    comma=", ",
    dot=" · ",
)
CHINESE = Words(
    severities={"page": "紧急", "ticket": "工单", "chat": "通知"},
    resolved="已恢复",
    firing_count="{} 个告警中",
    resolved_count="{} 个已恢复",
    number="当前 {}",
    last_number="曾为 {}",
    objective="目标 {}",
    since="开始于 {}",
    lasted="持续 {} 后恢复，{} 至 {}",
    trace="追踪 {}",
    more="另有 {} 个",
    links={"runbook": "处理手册", "dashboard": "仪表盘", "run": "Prefect 运行", "silence": "静默"},
    units={"d": "{} 天", "h": "{} 小时", "min": "{} 分钟", "s": "{} 秒"},
    comma="，",
    dot=" · ",
)
WORDS: Mapping[Language, Words] = {"en": ENGLISH, "zh": CHINESE}
_RATIOS = {"ratio", "percentunit"}
_SYMBOLS = {"percent": " %", "seconds": " s", "second": " s", "milliseconds": " ms"}
_SPANS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def number(text: str, unit: str) -> str:
    """Return a number as people read it: 0.0213 of unit `ratio` is 2.13 %; what is no number stays as it is."""
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


def moment(at: datetime, zone: str) -> str:
    """Return a moment as `2025-01-15 10:23:45 UTC+8`, on the clocks of a time zone."""
    local = at.astimezone(ZoneInfo(zone))
    offset = (local.utcoffset() or timedelta()) // timedelta(minutes=1)
    hours, minutes = divmod(abs(offset), 60)
    sign = "-" if offset < 0 else "+"
    shift = f"{sign}{hours}" + (f":{minutes:02}" if minutes else "") if offset else ""
    return f"{local:%Y-%m-%d %H:%M:%S} UTC{shift}"


def duration(span: timedelta, words: Words) -> str:
    """Return how long, in its two largest units: `1 h 20 min`."""
    left = max(0, round(span.total_seconds()))
    parts: list[str] = []
    for name, seconds in _SPANS:
        count, left = divmod(left, seconds)
        if count or (name == "s" and not parts):
            parts.append(words.units[name].format(count))
    return " ".join(parts[:2])


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 10_000 and value == round(value) else f"{value:.4g}"
