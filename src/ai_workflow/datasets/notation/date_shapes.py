"""Shapes of dates as people write them, and the strptime formats that a shape may have."""

from __future__ import annotations

import re

EPOCHS = {"epoch_s": 1_000_000, "epoch_ms": 1_000}
COMPACT = "%Y%m%d"
ISO = "%Y-%m-%d"
_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_WORD = re.compile(r"[^\W\d_]+")
_TIME = re.compile(
    r"(?P<gap>[ T]|, )(?P<hour>\d{1,2}):\d\d(?P<second>:\d\d(?P<fraction>[.,]\d+)?)?(?P<half> ?[AaPp][Mm])?"
    r"(?P<zone> ?(?:Z|UTC|GMT|[+-]\d\d:?\d\d))?"
)
_NUMERIC = re.compile(r"(\d{1,4})(\. |[/.-])(\d{1,2})(?:\2(\d{1,4}))?(\.?)")
_BASIC = re.compile(r"\d{8}T\d{4}(?P<second>\d\d)?(?P<zone>Z?)")
_ZERO = re.compile(r"0000[/.-]00[/.-]00|00[/.-]00[/.-]0000|\d{4}-(?:00-\d\d|\d\d-00)(?: 00:00(?::00)?)?")
_MONTH_YEAR = re.compile(r"\d{1,2}([/.-])\d{4}")
_GROUP = re.compile(r"\d+")
_YEAR = r"(?:19|20)\d\d"
# Weeks, quarters, halves, and years in Japanese, Chinese and Korean.
_PERIOD = re.compile(
    rf"{_YEAR}-?W\d\d(?:-?\d)?|(?:KW|CW|W) ?\d\d?[-/ ]{_YEAR}|{_YEAR}[- ]?[QH][1-4]|[QH][1-4][-/ ]?{_YEAR}"
    rf"|{_YEAR} ?[年년].{{0,16}}"
)
# Beginnings of the names of months in European languages.
_MONTH = re.compile(
    "(?i)(jan|ene|gen|feb|fev|fév|mar|mär|mrz|maa|apr|avr|abr|mai|maj|may|mag|mei|jun|jui|giu|jul|lug|aug|aoû|aou|ago"
    "|sep|set|oct|okt|ott|out|nov|dec|dez|déc|dic|янв|фев|мар|апр|мая|май|июн|июл|авг|сен|окт|ноя|дек)"
)
_MAX_LENGTH = 40


def formats(cell: str) -> tuple[str, ...]:
    """Return the formats that a text may have, the usual one first; each reads it as another date.

    Only digits count, not their values: whether day and month are in range is checked when the text is parsed.
    """
    if "%" in cell:
        return ()
    if basic := _BASIC.fullmatch(cell):
        return (f"{COMPACT}T%H%M{'%S' if basic['second'] else ''}{basic['zone']}",)
    day, time = cell, ""
    if match := _TIME.search(cell):
        if match.end() != len(cell):
            return ()
        day, time = cell[: match.start()], _time_format(match)
    if _WORD.search(day):
        return tuple(form + time for form in _word_formats(day))
    return tuple(form + time for form in _numeric_formats(day))


def is_date(cell: str) -> bool:
    """Return whether a text has the form of a date and is no placeholder such as 0000-00-00."""
    return bool(formats(cell)) and _ZERO.fullmatch(cell) is None


def is_date_like(cell: str) -> bool:
    """Return whether a text has the form of a date, known or unknown."""
    return bool(formats(cell)) or is_unread(cell)


def is_unread(cell: str) -> bool:
    """Return whether a text looks like a date in a form that `formats` does not know."""
    if len(cell) > _MAX_LENGTH or "%" in cell or formats(cell):
        return False
    if _PERIOD.fullmatch(cell):
        return True
    words = _WORD.findall(cell)
    others = [word for word in words if not _MONTH.match(word)]
    is_named = len(words) > len(others) and len(_GROUP.findall(cell)) > 1
    # Other words are particles, ordinals, days and time zones.
    return is_named and re.search(rf"\b{_YEAR}\b", cell) is not None and all(len(word) < 4 for word in others)


def _time_format(match: re.Match[str]) -> str:
    half = match["half"] or ""
    seconds = ":%S" if match["second"] else ""
    fraction = f"{match['fraction'][0]}%f" if match["fraction"] else ""
    twelve = f"{' ' if half.startswith(' ') else ''}%p" if half else ""
    # UTC, as all timestamps are; other zones have an offset.
    zone = re.sub(r"[+-].*", "%z", match["zone"] or "")
    return f"{match['gap']}{'%I' if half else '%H'}:%M{seconds}{fraction}{twelve}{zone}"


def _numeric_formats(day: str) -> tuple[str, ...]:
    if month_year := _MONTH_YEAR.fullmatch(day):
        return (f"%m{month_year[1]}%Y",)
    match = _NUMERIC.fullmatch(day)
    if match is None:
        return ()
    first, separator, second, last, end = match.groups()
    if end and (last is None or not separator.startswith(".")):
        return ()
    if last is None:
        return (f"%Y{separator}%m",) if len(first) == 4 and len(second) == 2 else ()
    if len(first) == 4 and len(last) <= 2:
        return (separator.join(("%Y", "%m", "%d")) + end,)
    if len(first) > 2 or len(last) not in (2, 4):
        return ()
    year = "%Y" if len(last) == 4 else "%y"
    # With points the day stands first; with other separators the order differs by country.
    has_points = separator.startswith(".")
    orders = [("%d", "%m", year)] if has_points else [("%d", "%m", year), ("%m", "%d", year)]
    if year == "%y" and not has_points:
        orders.append(("%y", "%m", "%d"))
    return tuple(separator.join(order) + end for order in orders)


def _word_formats(day: str) -> tuple[str, ...]:
    """Return the formats of a date with the name of its month."""
    names = {word: _name_format(word.lower()) for word in _WORD.findall(day)}
    named = [form for form in names.values() if form]
    if len(named) != len(names) or sum(form in ("%b", "%B") for form in named) != 1:
        return ()
    groups = _GROUP.findall(day)
    years = sum(len(group) == 4 for group in groups)
    others = sum(len(group) <= 2 for group in groups)
    if years + others != len(groups) or (years, others) not in ((1, 0), (1, 1), (0, 2), (0, 1)):
        return ()
    if others == 1 and not years:
        # Jan-24 is a month of a year or a day without a year.
        month = _WORD.sub(lambda match: str(names[match[0]]), day)
        return tuple(_GROUP.sub(form, month) for form in ("%y", "%d"))
    digits = iter([_group_format(group, is_day=bool(years) or not number) for number, group in enumerate(groups)])
    form = _GROUP.sub(lambda _: next(digits), _WORD.sub(lambda match: str(names[match[0]]), day))
    return (form, form.replace("%b", "%B")) if "may" in map(str.lower, names) else (form,)


def _group_format(group: str, *, is_day: bool) -> str:
    return "%Y" if len(group) == 4 else "%d" if is_day else "%y"


def _name_format(word: str) -> str | None:
    for names, long, short in ((_MONTHS, "%B", "%b"), (_DAYS, "%A", "%a")):
        if word in (name[:3] for name in names):
            return short
        if word in names:
            return long
    return None
