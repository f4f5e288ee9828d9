"""Shapes of numbers as people write them: separators, units, currencies and negative numbers."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

PERCENT = "percent"
_MINUS = r"\-" + "\N{MINUS SIGN}"
_SPACES = " \N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{THIN SPACE}\N{FIGURE SPACE}"
_APOSTROPHES = (
    "'\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}\N{MODIFIER LETTER APOSTROPHE}`\N{ACUTE ACCENT}"
)
_SYMBOLS = "$€£¥₹₽₩₺₫₴₪₦฿₱₡₵₲₸"
_CODES = (
    "AED AUD BGN BRL CAD CHF CLP CNY COP CZK DKK EGP EUR GBP HKD HUF IDR ILS INR ISK JPY KRW MXN MYR NGN NOK NZD PHP "
    "PLN RON RUB SAR SEK SGD THB TRY TWD UAH USD VND ZAR"
)
# Units that an undeclared column may have; all others are declared.
_NAMES = "R$ US$ C$ CA$ A$ AU$ NZ$ HK$ NT$ S$ kr kr. zł Kč Ft Rs Rs. Fr Fr. Euro лв руб руб. р. 元 円 원"
_KNOWN_UNITS = frozenset(["%", *_SYMBOLS, *_CODES.split(), *_NAMES.split()])
_MAX_LENGTH = 64
_GAP = rf"[\s{_SPACES}]*"
_UNIT = rf"[^\d\s{_SPACES}.,{_APOSTROPHES}_+{_MINUS}()]{{1,12}}\.?"
_OPTIONAL_UNIT = f"((?:{_UNIT})?)"
_BODY = rf"[.,]?\d(?:[\d.,{_APOSTROPHES}_{_SPACES}]*[\d.,])?(?:[eE][+-]?\d+)?"
_PARENTHESES = re.compile(rf"{_OPTIONAL_UNIT}{_GAP}\(([^()+{_MINUS}]+)\){_GAP}{_OPTIONAL_UNIT}", re.ASCII)
_SIGNED = re.compile(
    _GAP.join(
        (f"([+{_MINUS}]?)", _OPTIONAL_UNIT, f"([+{_MINUS}]?)", f"({_BODY})", _OPTIONAL_UNIT, f"([{_MINUS}]{{0,2}})")
    ),
    re.ASCII,
)
_SEPARATORS = {",": ",", ".": r"\.", " ": f"[{_SPACES}]", "'": f"[{_APOSTROPHES}]", "_": "_"}


class NumberNotation(NamedTuple):
    """How the numbers of a column are written.

    Args:
        decimal: the decimal separator.
        thousands: the separator of thousands, if there is one.
        unit: the unit before or after a number; `percent` is `%`.
    """

    decimal: str = "."
    thousands: str | None = None
    unit: str | None = None


class NumberParts(NamedTuple):
    """A number as text, without its sign and unit.

    Args:
        body: digits and separators.
        is_negative: whether it is negative.
        unit: its unit, empty if there is none.
        is_prefix: whether the unit stands before the number.
        is_accounting: whether it has parentheses or a trailing minus, which `accounting` allows.
    """

    body: str
    is_negative: bool
    unit: str
    is_prefix: bool
    is_accounting: bool


def split(cell: str) -> NumberParts | None:
    """Return the parts of a number; None if the text has not the shape of one number."""
    text = cell.strip()
    if len(text) > _MAX_LENGTH:
        return None
    in_parentheses = _PARENTHESES.fullmatch(text)
    match = _SIGNED.fullmatch("".join(in_parentheses.groups()) if in_parentheses else text)
    if match is None:
        return None
    lead, before, middle, body, after, tail = match.groups()
    if is_price := bool(tail) and body[-1] in ".,":
        # 5.- and 5,-- are prices without cents.
        body, tail = body[:-1], ""
    signs = [sign for sign in (lead, middle, tail, "-" if in_parentheses else "") if sign]
    if len(signs) > 1 or len(tail) > 1 or (before and after):
        return None
    is_accounting = bool(in_parentheses or tail or is_price)
    return NumberParts(body, bool(signs) and signs[0] != "+", before or after, bool(before), is_accounting)


def plain(cell: str, notation: NumberNotation) -> str | None:
    """Return a number in the notation of Python, such as `-1234.5`; None if it is not written in the notation."""
    parts = split(cell)
    if parts is None or (parts.unit and not is_unit(parts.unit, notation.unit)):
        return None
    body = plain_body(parts.body, notation)
    return None if body is None else f"-{body}" if parts.is_negative else body


def plain_body(body: str, notation: NumberNotation) -> str | None:
    """Return digits and separators in the notation of Python; None if they are not in the notation."""
    if not _pattern(notation.decimal, notation.thousands).fullmatch(body):
        return None
    if notation.thousands:
        body = re.sub(_SEPARATORS[notation.thousands], "", body)
    return body.replace(notation.decimal, ".")


def written(number: str, notation: NumberNotation) -> str:
    """Return the text of a number with the decimal separator of a notation, without thousands and unit."""
    return number.replace(".", notation.decimal)


def is_unit(text: str, unit: str | None) -> bool:
    """Return whether a text is a unit, in any case."""
    return unit is not None and text.lower() == ("%" if unit == PERCENT else unit.lower())


def is_known_unit(text: str) -> bool:
    """Return whether a text is a percent sign or a currency."""
    return text.strip() in _KNOWN_UNITS


@lru_cache(maxsize=64)
def _pattern(decimal: str, thousands: str | None) -> re.Pattern[str]:
    groups = r"\d+"
    if thousands:
        separator = _SEPARATORS[thousands]
        groups += rf"|[1-9]\d{{0,2}}(?:{separator}\d{{3}})+"
        if thousands == ",":
            # The Indian grouping: 12,34,567.
            groups += r"|[1-9]\d?(?:,\d{2})+,\d{3}"
    point = re.escape(decimal)
    return re.compile(rf"(?:(?:{groups})(?:{point}\d*)?|{point}\d+)(?:[eE][+-]?\d+)?", re.ASCII)
