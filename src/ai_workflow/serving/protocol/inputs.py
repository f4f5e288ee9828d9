"""What a caller asks about: rows by the names of their columns, or numbers that are features already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from ai_workflow.features.row_encoder import InvalidRowsError, Row
from ai_workflow.serving.routing.loaded_model import LoadedModel


class InferenceInput(Protocol):
    """Rows that one version after the other may be asked about."""

    rows: int

    def quick(self, loaded: LoadedModel) -> bytes | None:
        """Return float32 (rows, features) as a version takes it, or None where `careful` must decide.

        Raises:
            InvalidRowsError: they do not fit the version.
        """

    def careful(self, loaded: LoadedModel) -> bytes:
        """Return the same, slowly.

        Raises:
            InvalidRowsError: they do not fit the version.
        """

    def values(self) -> Sequence[Row] | None:
        """Return the rows as they were sent, if they have names."""


class RowInput:
    """Rows by the names of their columns, raw, as the source has them."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows, self._rows = len(rows), rows

    def quick(self, loaded: LoadedModel) -> bytes | None:
        """Return the numbers, or None where a value is not of the plain kind."""
        return loaded.encoder.quick(self._rows)

    def careful(self, loaded: LoadedModel) -> bytes:
        """Return the numbers, or raise with every value that is refused."""
        return loaded.encoder.careful(self._rows)

    def values(self) -> Sequence[Row] | None:
        """Return the rows."""
        return self._rows


class MatrixInput:
    """Features in the order of the version's spec, float32 (rows, width)."""

    def __init__(self, data: bytes, rows: int, width: int) -> None:
        self.rows, self._data, self._width = rows, data, width

    def quick(self, loaded: LoadedModel) -> bytes | None:
        """Return the numbers, if there are as many as the version takes."""
        if self._width != loaded.feature_count:
            raise InvalidRowsError(
                f"{loaded.name} takes {loaded.feature_count} features, and a row here has {self._width}"
            )
        return self._data

    def careful(self, loaded: LoadedModel) -> bytes:
        """Return the numbers: there is no doubt about them."""
        return self._data

    def values(self) -> Sequence[Row] | None:
        """Return nothing: what the numbers were made of is not known here."""
        return None


def rows_of(body: Any, most: int) -> RowInput:
    """Return the rows of `{"rows": [{column: value}]}`.

    Raises:
        InvalidRowsError: it is not of that form, or there are too many, or none.
    """
    if type(body) is not dict or type(rows := body.get("rows")) is not list or not rows:
        raise InvalidRowsError('the body must be {"rows": [{column: value, ...}, ...]}, with one row at least')
    if len(rows) > most:
        raise InvalidRowsError(
            f"{len(rows)} rows are more than the {most} that one request may have (service.max_rows)"
        )
    for number, row in enumerate(rows):
        if type(row) is not dict:
            raise InvalidRowsError(f"rows[{number}] is not a mapping of columns to values")
    return RowInput(rows)
