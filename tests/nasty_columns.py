"""Random text columns of plain cells, with some cells that parsers read in different ways."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from ai_workflow.config.settings import Column
from ai_workflow.datasets.cells import CellRules

NUMBERS = (
    "1_000", "+5", " 5 ", "0x1F", "1e400", "-1e400", "inf", "Infinity", "-inf", "INF", "nan", "NaN", " nan ", "-nan",
    "1.", "1,5", "５", "5e", ".", ".5", "+.5", "1e5", "--1", "1d5", "1e+05", "00012", "12.0", "1 2", "\t7",
    "-0", "-0.0",
    "9007199254740991", "9007199254740993", "-9007199254740993", "9223372036854775807", "9223372036854775808",
    "-9223372036854775808", "18446744073709551616", "1e-400", "4.9e-324", "0.1", "123456789.123456789", "1e22",
    "1.7976931348623157e308", "2.2250738585072011e-308", "0.30000000000000004", "9" * 60, "9" * 150,
    "0." + "0" * 120 + "1",
    "nan(1)", "½", "٣", "1\x00", "18446744073709551615", "-9223372036854775809", "1e18", "1e19", "1e200", "007",
    "01234", "-007", " 007", "0000", "1.0", "9007199254740992.0", "-1e15",
)  # fmt: skip
DATES = (
    "2024-01-05", "2024-02-29", "2023-02-29", "2024-02-30", "2024-1-5", "2024-01-05T10:00:00Z", "2024-01-05 25:00",
    "2024-01-05 10:00:00+02:00", "20240105", "now", "today", " Now ", "2024-01-05 10", "2024-01-05T10:00",
    "2024-01-05T10:00:00.123456789", "2024-01-05 10:00:00.5", "2024-01-05 10:00:60", "1969-12-31 23:59:59.5",
    "0000-01-01", "0001-01-01", "0999-12-31", "10000-01-01", "-2024-01-01", "9999-12-31", "9999-12-31 23:30-05:00",
    " 2024-01-05", "2024-01-05 ", "2024-01-05  10:00", "2024-01-05t10:00", "2024-13-01", "2024-04-31", "２０２４-01-05",
    "2262-04-12", "1677-09-20", "2024-01-05\n", "2024-01-05 24:00",
)  # fmt: skip
WORDS = (
    "true",
    "True",
    " yes",
    "no",
    "0",
    "1.0",
    "null",
    "abc",
    "é",
    "-",
    "N/A",
    " none ",
    "12,5",
    "1.234,50",
    "$5",
    "7 %",
    "(3)",
    "05/01/2024",
    " ",
    "",
    "  ",
    "banana",
    "information",
    "a\nb",
    "#DIV/0!",
    "\\N",
    ".",
    "-nan",
    "−7.5",
    "–",
    "\xa03.5\xa0",
    "٤٥٦٫٧",
    "5.-",
    "5,--",
    "2024Q1",
    "5. März 2024",
    "2024-01-05 10:00:00 UTC",
    "Jan-24",
    "007",
)
NASTY = NUMBERS + DATES + WORDS


def _plain_cells(chance: random.Random) -> dict[str, Callable[[], str]]:
    def day() -> str:
        return f"{chance.randint(1900, 2100)}-{chance.randint(1, 12):02d}-{chance.randint(1, 28):02d}"

    def moment() -> str:
        clock = f"{chance.randint(0, 23):02d}:{chance.randint(0, 59):02d}:{chance.randint(0, 59):02d}"
        return f"{day()}{chance.choice(' T')}{clock}{chance.choice(('', '', '.25', '.123456'))}"

    return {
        "float": lambda: repr(chance.uniform(-1e6, 1e6)),
        "exponent": lambda: repr(chance.uniform(-1, 1) * 10.0 ** chance.randint(-300, 300)),
        "whole": lambda: str(chance.randint(-(10 ** chance.randint(1, 19)), 10 ** chance.randint(1, 19))),
        "small": lambda: str(chance.randint(0, 20)),
        "hash": lambda: str(chance.getrandbits(64)),
        "code": lambda: f"{chance.randint(0, 99_999):05}",
        "day": day,
        "moment": moment,
        "boolean": lambda: chance.choice(("yes", "no", "True", "false")),
        "category": lambda: chance.choice(("a", "b", "c")),
        "text": lambda: "".join(chance.choices("abcdefgh 123", k=12)),
    }


def cells(chance: random.Random) -> list[str | None]:
    """Return the cells of a random column: plain cells of one type, some nasty ones, and some missing ones."""
    plain = _plain_cells(chance)
    kind = chance.choice(sorted(plain))
    rows = chance.choice((1, 20, 120))
    column: list[str | None] = [plain[kind]() for _ in range(rows)]
    for _ in range(chance.choice((0, 1, 2, rows // 10, rows))):
        column[chance.randrange(rows)] = chance.choice(NASTY)
    for _ in range(chance.choice((0, 0, 3, rows))):
        column[chance.randrange(rows)] = None
    return column


def declaration(chance: random.Random) -> Column:
    """Return a random declaration of a column."""
    kind = chance.choice(("number", "integer", "datetime", "boolean", "category", "text"))
    body: dict[str, object] = {"type": kind, "nullable": chance.random() < 0.7}
    if kind in ("number", "integer"):
        body |= {"min": chance.choice((None, 0)), "max": chance.choice((None, 1000.5))}
        body |= {"fill": chance.choice((None, None, None, 7))}
    elif kind == "datetime":
        body |= {"min": chance.choice((None, "2000-01-01")), "max": chance.choice((None, "2024-01-05T00:00:00+02:00"))}
        body |= {"format": chance.choice((None, None, None, "%Y-%m-%d"))}
    elif kind == "category" and chance.random() < 0.5:
        body |= {"allowed": ("a", "b")}
    return Column.model_validate(body)


def columns(count: int, seed: int = 0) -> Iterator[tuple[list[str | None], Column, CellRules]]:
    """Yield random columns with a declaration and the rules of their source."""
    for number in range(count):
        chance = random.Random(f"{seed}-{number}")
        missing = chance.choice(((), (), ("-1", "5", "0"), ("-", " NA", "abc")))
        strip, default_missing = chance.random() < 0.3, chance.random() < 0.7
        rules = CellRules(missing=missing, strip=strip, default_missing=default_missing)
        yield cells(chance), declaration(chance), rules
