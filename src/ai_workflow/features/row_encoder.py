"""Encoder of JSON rows to the feature matrix of a model version.

`encode_checked` reads cells by `cells.of_json`, as training and scoring do. `encode_fast` runs on the event
loop: it returns the same bytes, or None if a value needs `encode_checked`.
"""

from __future__ import annotations

import difflib
import math
import struct
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import islice
from operator import itemgetter
from typing import Any

from ai_workflow.config.settings import Column
from ai_workflow.errors import AiWorkflowError
from ai_workflow.features import precision, worker_rows
from ai_workflow.features.cell_reader import CellReader
from ai_workflow.features.row_values import UnsupportedValueError, limits, reader
from ai_workflow.features.spec import Feature, FeatureSpec

Row = dict[str, Any]
_NAN = math.nan
_NUMBERS = {int, float}
_EPOCH, _DAY = datetime(1970, 1, 1), timedelta(days=1)  # noqa: DTZ001 - like clean rows: in UTC, without a time zone
_SHOWN = 5
# Only the first keys of a row are compared for a similar name, because each comparison takes microseconds.
_COMPARED_KEYS, _MAX_KEY_LENGTH = 200, 200


class InvalidRowsError(AiWorkflowError):
    """A request has rows that the model cannot score: a client error."""


class Encoder:
    """Encoder of request rows for one model version.

    Args:
        spec: the feature spec of the version.
        fingerprint: the fingerprint of the spec.
    """

    def __init__(self, spec: FeatureSpec, fingerprint: str) -> None:
        self.spec, self.fingerprint = spec, fingerprint
        self.reader = CellReader(spec)
        self.columns: dict[str, Column] = self.reader.columns
        self.width = worker_rows.width(spec)
        self._is_derived = worker_rows.is_used(spec)
        self._categories = {
            feature["column"]: (position, float(len(feature["vocabulary"])))
            for position, feature in enumerate(spec["features"])
            if feature["kind"] == "category" and not feature.get("derived")
        }
        self._pack = struct.Struct(f"<{self.width}f").pack
        # The plain numbers of a row are read and checked together, the other columns one by one.
        plain = [name for name, column in self.columns.items() if column.type == "number"]
        self._numbers = _getter(plain)
        self._bounds = [
            (position, *limits(self.columns[name]))
            for position, name in enumerate(plain)
            if (self.columns[name].min, self.columns[name].max) != (None, None)
        ]
        self._nullable = [self.columns[name].nullable and self.columns[name].fill is None for name in plain]
        self._missing_numbers = self.reader.cells.numbers
        self._others = [(name, reader(name, self.reader)) for name in self.columns if name not in set(plain)]
        position = {name: number for number, name in enumerate([*plain, *(name for name, _ in self._others)])}
        self._makers = [
            (position[feature["column"]], _maker(feature)) for feature in spec["features"] if not feature.get("derived")
        ]
        self._is_plain = [position for position, _ in self._makers] == list(range(len(plain))) and all(
            feature["kind"] == "number" and "center" not in feature for feature in spec["features"]
        )

    @property
    def categories(self) -> dict[str, tuple[int, float]]:
        """Category column -> index of its feature, and the code of values without a code of their own."""
        return self._categories

    def unseen(self, rows: Sequence[Row], data: bytes) -> dict[str, int]:
        """Return the number of values per category that are not in the training data, for columns with any.

        Args:
            rows: the rows of the request.
            data: the rows as encoded by `encode_fast` or `encode_checked`.
        """
        numbers, counts = memoryview(data).cast("f"), dict[str, int]()
        for name, (position, index) in self._categories.items():
            for number, row in enumerate(rows):
                if numbers[number * self.width + position] == index and not self.reader.is_known(name, row[name]):
                    counts[name] = counts.get(name, 0) + 1
        return counts

    def encode_fast(self, rows: Sequence[Row]) -> bytes | None:
        """Return float32 (rows, width), or None if a value or the version needs `encode_checked`.

        Raises:
            InvalidRowsError: a column is missing.
        """
        if self._is_derived:
            return None
        try:
            return b"".join([self._row(row) for row in rows]) if len(rows) != 1 else self._row(rows[0])
        except (UnsupportedValueError, OverflowError, struct.error):
            return None
        except KeyError as error:
            raise self._missing(rows) from error

    def encode_checked(self, rows: Sequence[Row]) -> bytes:
        """Return float32 (rows, width): the features, with those that the worker derives as `worker_rows` has them.

        Raises:
            InvalidRowsError: a column is missing, or values do not fit the schema; the message names row and column.
        """
        if any(name not in row for row in rows for name in self.columns):
            raise self._missing(rows)
        problems: list[str] = []
        for name in self.columns:
            for number, row in enumerate(rows):
                if isinstance(row[name], list | dict):
                    problems.append(f"rows[{number}].{name} is not a single value")
        if not problems:
            frame, problems = self.reader.read(rows)
            if not problems:
                return worker_rows.to_worker(frame, self.spec).tobytes()
        more = f", and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise InvalidRowsError("; ".join(problems[:_SHOWN]) + more)

    def _row(self, row: Row) -> bytes:
        numbers = self._numbers(row)
        kinds = set(map(type, numbers))
        if not kinds <= _NUMBERS:
            numbers = self._with_gaps(numbers, kinds)
        elif not math.isfinite(sum(numbers)):
            raise UnsupportedValueError
        if 0.0 in numbers:
            numbers = [number + 0.0 for number in numbers]  # a zero has no sign
        if self._missing_numbers and not self._missing_numbers.isdisjoint(numbers):
            raise UnsupportedValueError
        for position, low, high in self._bounds:
            if numbers[position] < low or numbers[position] > high:  # False for NaN
                raise UnsupportedValueError
        if self._is_plain:
            return self._pack(*numbers)
        values = [*numbers, *[read(row[name]) for name, read in self._others]]
        return self._pack(*[make(values[position]) for position, make in self._makers])

    def _with_gaps(self, numbers: Sequence[Any], kinds: set[type]) -> Sequence[float]:
        if not kinds <= {int, float, type(None)}:
            raise UnsupportedValueError
        if any(value is None and not nullable for value, nullable in zip(numbers, self._nullable, strict=True)):
            raise UnsupportedValueError
        if not math.isfinite(sum(value for value in numbers if value is not None)):
            raise UnsupportedValueError
        return [_NAN if value is None else value for value in numbers]

    def _missing(self, rows: Sequence[Row]) -> InvalidRowsError:
        for number, row in enumerate(rows):
            for name in self.columns:
                if name not in row:
                    keys = [key for key in islice(row, _COMPARED_KEYS) if len(key) <= _MAX_KEY_LENGTH]
                    near = difflib.get_close_matches(name, keys, n=1)
                    hint = f"did you mean it by '{near[0]}'?" if near else "send null where there is no value"
                    return InvalidRowsError(f"rows[{number}] has no '{name}', which the model needs; {hint}")
        return InvalidRowsError("a row lacks a column")


def _getter(names: list[str]) -> Callable[[Row], Sequence[Any]]:
    if len(names) > 1:
        return itemgetter(*names)
    return lambda row: [row[name] for name in names]


def _maker(feature: Feature) -> Callable[[Any], float]:
    """Return the function from a clean value to the number of a feature."""
    make = _unshifted_maker(feature)
    if not (shift := precision.of_feature(feature)):
        return make
    center, scale = shift
    return lambda value: (make(value) - center) / scale


def _unshifted_maker(feature: Feature) -> Callable[[Any], float]:
    if feature["kind"] == "missing":
        return lambda value: float(value is None or value != value)  # noqa: PLR0124 - NaN differs from itself
    if feature["kind"] == "category":
        index = {value: float(position) for position, value in enumerate(feature["vocabulary"])}
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
