"""Turns rows of JSON into the numbers a model takes, by a version's feature spec: quickly where there is no doubt.

`quick` is for a single request on the event loop, and gives exactly what `features.transform` gives, or None where it
is not sure that it would; `careful` is that very function, with a reason for each value that training would reject.
"""

from __future__ import annotations

import difflib
import math
import re
import struct
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import islice
from operator import itemgetter
from typing import Any

from ai_workflow import features
from ai_workflow.errors import AiWorkflowError
from ai_workflow.settings import Column

Row = dict[str, Any]
# A value as a row holds it -> as a feature is made of it; raises Unsure.
_Read = Callable[[Any], Any]
_NAN = math.nan
_NUMBERS = {int, float}
_MOMENT = re.compile(r"^(?!0000)\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{6})?)?)?$")
_EPOCH, _DAY = datetime(1970, 1, 1), timedelta(days=1)  # noqa: DTZ001 - as clean rows hold them: in UTC, without zone
_SHOWN = 5
# A similar name is looked for among the first keys of a row only: the comparison takes microseconds for each.
_COMPARED_KEYS, _MAX_KEY_LENGTH = 200, 200


class BadRows(AiWorkflowError):
    """Rows that the model cannot be asked about: the caller's mistake."""


class Unsure(Exception):
    """Not a value of the plain kind; `careful` decides."""


class Encoder:
    """The way from rows to numbers of one version.

    Args:
        spec: its feature spec.
        fingerprint: of that spec.
    """

    def __init__(self, spec: dict[str, Any], fingerprint: str) -> None:
        self.spec, self.fingerprint = spec, fingerprint
        self.columns = {name: Column(**spec["schema"][name]) for name in features.inputs(spec)}
        self.width = len(spec["features"])
        self._pack = struct.Struct(f"<{self.width}f").pack
        # The plain numbers of a row are taken and checked all at once, the other columns one by one.
        plain = [name for name, column in self.columns.items() if column.type == "number"]
        self._numbers = _getter(plain)
        self._bounds = [
            (place, *_limits(self.columns[name]))
            for place, name in enumerate(plain)
            if (self.columns[name].min, self.columns[name].max) != (None, None)
        ]
        self._nullable = [self.columns[name].nullable and self.columns[name].fill is None for name in plain]
        self._others = [(name, _reader(column)) for name, column in self.columns.items() if name not in set(plain)]
        place = {name: number for number, name in enumerate([*plain, *(name for name, _ in self._others)])}
        self._makers = [(place[feature["column"]], _maker(feature)) for feature in spec["features"]]
        self._is_plain = [place for place, _ in self._makers] == list(range(len(plain))) and all(
            feature["kind"] == "number" for feature in spec["features"]
        )

    def quick(self, rows: Sequence[Row]) -> bytes | None:
        """Return float32 (rows, features), or None if a value is not of the plain kind, or is refused.

        Raises:
            BadRows: a column is not there.
        """
        try:
            return b"".join([self._row(row) for row in rows]) if len(rows) != 1 else self._row(rows[0])
        except (Unsure, OverflowError, struct.error):
            return None
        except KeyError as error:
            raise self._missing(rows) from error

    def careful(self, rows: Sequence[Row]) -> bytes:
        """Return float32 (rows, features).

        Raises:
            BadRows: a column is not there, or values are not what the schema says; each is named with its row.
        """
        if any(name not in row for row in rows for name in self.columns):
            raise self._missing(rows)
        problems: list[str] = []
        for name in self.columns:
            for number, row in enumerate(rows):
                if isinstance(row[name], list | dict):
                    problems.append(f"rows[{number}].{name} is not a single value")
        if not problems:
            import numpy as np

            with np.errstate(over="ignore"):  # more than float32 holds is infinite, as in training
                matrix, problems = features.read(rows, self.spec)
            if not problems:
                return matrix.tobytes()
        more = f", and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise BadRows("; ".join(problems[:_SHOWN]) + more)

    def _row(self, row: Row) -> bytes:
        numbers = self._numbers(row)
        kinds = set(map(type, numbers))
        if not kinds <= _NUMBERS:
            numbers = self._with_gaps(numbers, kinds)
        elif not math.isfinite(sum(numbers)):
            raise Unsure
        for place, low, high in self._bounds:
            if numbers[place] < low or numbers[place] > high:  # never true of a missing one
                raise Unsure
        if self._is_plain:
            return self._pack(*numbers)
        values = [*numbers, *[read(row[name]) for name, read in self._others]]
        return self._pack(*[make(values[place]) for place, make in self._makers])

    def _with_gaps(self, numbers: Sequence[Any], kinds: set[type]) -> Sequence[float]:
        if not kinds <= {int, float, type(None)}:
            raise Unsure
        if any(value is None and not nullable for value, nullable in zip(numbers, self._nullable, strict=True)):
            raise Unsure
        if not math.isfinite(sum(value for value in numbers if value is not None)):
            raise Unsure
        return [_NAN if value is None else value for value in numbers]

    def _missing(self, rows: Sequence[Row]) -> BadRows:
        for number, row in enumerate(rows):
            for name in self.columns:
                if name not in row:
                    keys = [key for key in islice(row, _COMPARED_KEYS) if len(key) <= _MAX_KEY_LENGTH]
                    near = difflib.get_close_matches(name, keys, n=1)
                    hint = f"did you mean it by '{near[0]}'?" if near else "send null where there is no value"
                    return BadRows(f"rows[{number}] has no '{name}', which the model needs; {hint}")
        return BadRows("a row lacks a column")


def _getter(names: list[str]) -> Callable[[Row], Sequence[Any]]:
    if len(names) > 1:
        return itemgetter(*names)
    return lambda row: [row[name] for name in names]


def _limits(column: Column) -> tuple[Any, Any]:
    return -math.inf if column.min is None else column.min, math.inf if column.max is None else column.max


def _reader(column: Column) -> _Read:
    """Return what reads one value of a column that is not a plain number; None stays None where that is allowed."""
    plain = {"integer": _integer, "boolean": _boolean, "category": _category, "datetime": _moment}[column.type]
    nullable = column.nullable and column.fill is None
    low, high = _limits(column)
    allowed = frozenset(column.allowed)
    # Dates of another format, or within bounds, are left to pandas.
    doubtful = column.type == "datetime" and (column.format, column.min, column.max) != (None, None, None)

    def read(value: Any) -> Any:
        if value is None:
            if nullable:
                return None
            raise Unsure
        if doubtful:
            raise Unsure
        found = plain(value)
        if column.type == "integer" and not low <= found <= high:
            raise Unsure
        if allowed and found not in allowed:
            raise Unsure
        return found

    return read


def _integer(value: Any) -> int:
    if type(value) is int and abs(value) < 2**53:
        return value
    raise Unsure


def _boolean(value: Any) -> float:
    if type(value) is bool:
        return float(value)
    raise Unsure


def _category(value: Any) -> str:
    if type(value) is str:
        return value
    if type(value) is int:
        return str(value)
    raise Unsure


def _moment(value: Any) -> datetime:
    if type(value) is str and _MOMENT.match(value):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            pass
    raise Unsure


def _maker(feature: dict[str, Any]) -> Callable[[Any], float]:
    """Return what makes a feature's number of a value that was read."""
    if feature["kind"] == "missing":
        return lambda value: float(value is None or value != value)  # noqa: PLR0124 - NaN differs from itself
    if feature["kind"] == "category":
        index = {value: float(place) for place, value in enumerate(feature["vocabulary"])}
        unseen = float(len(index))
        return lambda value: _NAN if value is None else index.get(value, unseen)
    if feature["kind"] == "date":
        part = _PARTS[feature["part"]]
        return lambda value: _NAN if value is None else part(value)
    return lambda value: _NAN if value is None else value


_PARTS: dict[str, Callable[[datetime], float]] = {
    "days": lambda moment: (moment - _EPOCH) / _DAY,
    "year": lambda moment: moment.year,
    "month": lambda moment: moment.month,
    "day": lambda moment: moment.day,
    "weekday": lambda moment: moment.weekday(),
    "hour": lambda moment: moment.hour,
}
