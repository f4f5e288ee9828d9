"""Drawn pipelines and drawn cells: declarations of a source, columns of every type, and raw cells of every kind."""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

# How sources write the values of a type: each list is one column of a training table.
WRITTEN: dict[str, list[list[str]]] = {
    "number": [
        ["1.5", "2", "-3e2", "0.25", "-0.0"], ["10", "20", "-30"], ["0.1", "-999.9", "1e-3"],
        ["16777217", "0.30000001"],
    ],
    "integer": [["1", "7", "-2", "9007199254740993"], ["0", "1", "-999"], ["100", "200.0", "3e2"]],
    "boolean": [["true", "false"], ["YES", "no"], ["1", "0"], ["T", "F", "True"], ["1.0", "0.0"]],
    "datetime": [
        ["2026-01-31", "2025-12-01T10:30:00", "2025-11-02 08:00:00+02:00"], ["1969-12-31T23:59:59.25", "1970-01-02"],
        ["1900-01-01", "2026-06-30", "2026-06-29T23:00:00Z"],
    ],
    "category": [
        ["red", "green", "deep blue", "ü"], ["1", "2", "30"], ["1.0", "2.0", "3.5"], ["1", "1.0", "x"],
        ["TRUE", "FALSE"], ["true", "True", "no"], ["007", "08", "1"], ["2026-01-31", "31.01.2026"],
        ["1e3", "1000.0", "-0", "0.5"], ["0.1", "0.2", "-999.9"], ["９", "e\u0301", "\u00e9", "a\u00a0b"],
        [" red", "red ", "Red", "red"], ["9007199254740993", "9007199254740992", "12345678901234567890"],
    ],
}  # fmt: skip
FORMATS: dict[str, list[str]] = {
    "%d.%m.%Y": ["31.01.2026", "01.12.2025"],
    "%m/%d/%Y %H:%M": ["01/31/2026 10:30", "12/01/2025 00:00"],
    "%Y%m%d": ["20260131", "19000101"],
    "%d %b %y": ["31 Jan 26", "01 Dec 25"],
}
TOKENS = (
    "?", "NA", "-999", " n/a ", "0.5", "2026-01-31", "unknown", "1.0", "false", "-999.9", "1900-01-01", "1", "0",
    "20260131", "True", "007", "NULL", "1e3",
)  # fmt: skip
UGLY = (
    "", " ", "\t", "?", "NA", "n/a", "na", "-999", "-999.0", " -999 ", "-9.99e2", "nan", "NaN", "inf", "-Infinity",
    "1e3", "1e300", "1e400", "-1e-400", "\u0663", "1_000", "0x10", "+3", "007", "1.0", "1", "01", "0.5", ".5", "5.",
    "TRUE", "true", "False", " yes ", "no", "2.5", "-0", "-0.0", "0", "0.0", "1e-320", "00", "1.", "1,5", "1 000",
    "9223372036854775807", "-9223372036854775808", "9223372036854775808", "18446744073709551615", "9007199254740993",
    "9007199254740993.0", "-9007199254740993", "99999999999999999999999", "\u2003red", "red ", "RED", "red\x0b",
    "now", "today", "NaT", "None", "null", "2026-01-31", "2026-01-31T00:00:00Z", "2026-01-31 23:59:59.5+05:30",
    "2026-02-30", "20260131", "31.01.2026", "31.1.2026", "9999-12-31", "9999-12-31T23:59:59-05:00", "0001-01-01",
    "2026-01-31T00:00:00.123456789", "1969-12-31T23:59:59.999999999", "1500-02-29", "2026-01", "2026", "24:00:00",
    "2026-01-31T24:00:00", "1677-09-21T00:12:43.1234567", "1000000", "unknown", "\u00a0", "a,b", 'a"b', "a\r\nb",
    "a\n\nb", "\ufeff1", "\u200b", "１２", "e\u0301", "\u00e9", "\ud7ff\ue000", "\U0001f600", "x" * 300, "'", "\\n",
    "1\x1f", "\x851", "01 Dec 25", "12/01/2025 00:00", "-1900-01-01", "1e", "--1", "0" * 400 + "1", "9" * 400,
)  # fmt: skip
_LETTERS = "aAzZ09 .,-+eE:_/\t\n\"'?\u00a0\u2003\u200bßéİıſ\u0301\u0663９\U0001f600\x0b\x1c\x7f\x85"
_NUMERAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_CODE = re.compile(r"[+-]?0\d", re.ASCII)


@dataclass(frozen=True)
class Drawn:
    """One column: its type, its declaration, and the cells that training sees.

    Args:
        name: its name.
        type: `number`, `integer`, `boolean`, `datetime` or `category`.
        cells: how the source writes its values.
        declared: its entry of the section `schema`.
    """

    name: str
    type: str
    cells: Sequence[str]
    declared: dict[str, Any] = field(default_factory=dict)


def columns(chance: random.Random, count: int, missing: Sequence[str]) -> list[Drawn]:
    """Return columns of drawn types; of the first six, each type and a declared date format is one."""
    types = [*WRITTEN, "format"]
    types += chance.choices([*types, "category", "category"], k=count - len(types))
    return [_column(chance, f"c{number}_{kind}", kind, missing) for number, kind in enumerate(types)]


def _column(chance: random.Random, name: str, kind: str, missing: Sequence[str]) -> Drawn:
    declared: dict[str, Any] = {}
    if kind == "format":
        declared["format"] = chance.choice(list(FORMATS))
        cells, kind = FORMATS[declared["format"]], "datetime"
    else:
        cells = chance.choice(WRITTEN[kind])
    # A column that must have values, and has none in training, would leave no row.
    is_full = {text.strip() for text in cells}.isdisjoint(token.strip() for token in missing)
    declared["nullable"] = not (is_full and not numbers(cells) & numbers(missing) and chance.random() < 0.3)
    if chance.random() < 0.2:
        declared["fill"] = cells[-1]
    if kind in ("number", "integer") and chance.random() < 0.4:
        declared["min"], declared["max"] = min(map(float, cells)), max(map(float, cells))
    if kind == "datetime" and chance.random() < 0.3:
        declared["min"], declared["max"] = "1900-01-01", "2026-06-29T23:00:00"
    if kind == "category" and chance.random() < 0.3:
        declared["allowed"] = [*cells, "17"]
    return Drawn(name, kind, cells, {"type": kind, **declared})


def numbers(texts: Sequence[str]) -> set[float]:
    """Return the numbers among texts."""
    return {float(text) for text in texts if _NUMERAL.fullmatch(text)}


def tokens(chance: random.Random) -> list[str]:
    """Return drawn texts that stand for a missing value."""
    return chance.sample(TOKENS, chance.randint(0, 5))


def cell(chance: random.Random, column: Drawn, missing: Sequence[str]) -> str:
    """Return a raw cell of a column: an ordinary one, an ugly one, or an ordinary one that is written otherwise."""
    draw = chance.random()
    if draw < 0.55:
        return chance.choice(column.cells)
    if draw < 0.65:
        return respelled(chance, chance.choice([*column.cells, *missing]))
    if draw < 0.75:
        return number(chance)
    if draw < 0.8:
        return "".join(chance.choices(_LETTERS, k=chance.randint(0, 6)))
    return chance.choice([*UGLY, *missing])


def respelled(chance: random.Random, text: str) -> str:
    """Return the text in another case, with spaces around it, or the same number in other digits."""
    ways = [
        f" {text}",
        f"{text}\u2003",
        f"\t{text}\n",
        text.upper(),
        text.lower(),
        text.title(),
        f"{text}.",
        f"0{text}",
    ]
    if _NUMERAL.fullmatch(text):
        value = Decimal(text)
        ways += [f"{text}0" if "." in text else f"{text}.0", f"{value:E}", f"{value:f}", f"+{text}", f"{text}e0"]
        ways += [repr(float(text))] * 2
    return chance.choice(ways)


def number(chance: random.Random) -> str:
    """Return a number: of any size, between two float32, or with more digits than a float64 has."""
    draw = chance.random()
    if draw < 0.3:
        return repr(chance.uniform(-1e6, 1e6))
    if draw < 0.5:
        return str(chance.getrandbits(chance.randint(1, 70)) * chance.choice([1, -1]))
    if draw < 0.7:
        below = struct.unpack("<f", struct.pack("<f", chance.uniform(-100, 100)))[0]
        bits = struct.unpack("<I", struct.pack("<f", below))[0]
        between = (Decimal(below) + Decimal(struct.unpack("<f", struct.pack("<I", bits + 1))[0])) / 2
        return f"{between:.{chance.randint(8, 40)}f}"
    if draw < 0.8:
        return f"{chance.uniform(-10, 10):.{chance.randint(0, 25)}f}"
    if draw < 0.9:
        return f"{chance.uniform(-10, 10):.{chance.randint(0, 18)}e}"
    found: float = struct.unpack("<d", struct.pack("<Q", chance.getrandbits(64)))[0]
    return repr(found)


def value(chance: random.Random, column: Drawn) -> Any:
    """Return a JSON value: missing, true or false, a number, or text."""
    draw = chance.random()
    if draw < 0.1:
        return None
    if draw < 0.25:
        return chance.random() < 0.5
    if draw < 0.7:
        text = chance.choice([*column.cells, *column.cells, *TOKENS, number(chance), "-999.0", "1e3", "2.5", "0", "3"])
        if not _NUMERAL.fullmatch(text) or abs(Decimal(text)) > Decimal("1e300"):
            return text
        is_float = chance.random() < 0.4 or not text.lstrip("+-").isdigit() or abs(int(text)) >= 2**63
        return float(text) if is_float else int(text)
    return chance.choice(column.cells)


class Refused:
    """What stands for the cell of a value that is refused over HTTP, as docs/serving.md says."""


def as_cell(value: Any, column: Drawn, known: frozenset[str], missing: Sequence[str]) -> str | Refused:
    """Return the cell of a text source that a JSON value is, by docs/serving.md, "Value parsing".

    Args:
        value: a single value.
        column: its column.
        known: the values that training saw, and those that are allowed.
        missing: the texts that stand for a missing value.
    """
    if value is None or isinstance(value, str):
        return value or ""
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    if column.type != "category":
        return text
    seen = {
        each
        for each in known
        if meaning(each) is not None and isinstance(meaning(each), bool) is isinstance(value, bool)
    }
    same = {each for each in seen if meaning(each) == meaning(text)}
    gone = {
        ""
        for token in missing
        if (found := meaning(token)) is not None
        and found == meaning(text)
        and isinstance(found, bool) is isinstance(value, bool)
    }
    if len(same | gone) > 1 or (known and not seen and not gone):
        return Refused()
    # A number that training never saw is any unseen text.
    return next(iter(same | gone), "never seen")


def meaning(text: str) -> Decimal | bool | None:
    """Return the number, true or false that a text is; None for codes and words."""
    plain = text.strip()
    if plain.lower() in ("true", "false"):
        return plain.lower() == "true"
    if not _NUMERAL.fullmatch(plain) or _CODE.match(plain):
        return None
    found = Decimal(plain)
    # As JSON readers do: whole numbers of 64 bits are exact, all others are float64.
    return found if found == found.to_integral_value() and abs(found) < 2**63 else Decimal(float(found))
