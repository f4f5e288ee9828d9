"""Inference inputs: raw rows by column name, or a precomputed feature matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from ai_workflow.features.row_encoder import InvalidRowsError, Row
from ai_workflow.serving.routing.loaded_model import LoadedModel


class InferenceInput(Protocol):
    """The rows of a request, independent of the version that predicts them."""

    row_count: int

    def encode_fast(self, loaded: LoadedModel) -> bytes | None:
        """Return float32 (rows, features) for a version, or None if `encode` must decide.

        Raises:
            InvalidRowsError: the rows do not fit the schema of the version.
        """

    def encode(self, loaded: LoadedModel) -> bytes:
        """Return float32 (rows, features) for a version, after all checks of values.

        Raises:
            InvalidRowsError: the rows do not fit the schema of the version.
        """

    def raw_rows(self) -> Sequence[Row] | None:
        """Return the rows as received; None for a feature matrix."""


class RowInput:
    """Raw rows by column name, as the source has them."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.row_count, self._rows = len(rows), rows

    def encode_fast(self, loaded: LoadedModel) -> bytes | None:
        """Return the features, or None if a value needs the checks of `encode`."""
        return loaded.encoder.encode_fast(self._rows)

    def encode(self, loaded: LoadedModel) -> bytes:
        """Return the features; the error names every rejected value."""
        return loaded.encoder.encode_checked(self._rows)

    def raw_rows(self) -> Sequence[Row] | None:
        """Return the rows."""
        return self._rows


class MatrixInput:
    """Features in the order of the version's feature spec, float32 (rows, width)."""

    def __init__(self, data: bytes, row_count: int, width: int) -> None:
        self.row_count, self._data, self._width = row_count, data, width

    def encode_fast(self, loaded: LoadedModel) -> bytes | None:
        """Return the features if their number is that of the version."""
        if loaded.has_functions:
            raise InvalidRowsError(f"{loaded.name} computes features by functions of its columns. Send the columns")
        if self._width != loaded.feature_count:
            raise InvalidRowsError(
                f"{loaded.name} takes {loaded.feature_count} features, and a row here has {self._width}"
            )
        return self._data

    def encode(self, loaded: LoadedModel) -> bytes:
        """Return the features."""
        return self._data

    def raw_rows(self) -> Sequence[Row] | None:
        """Return None: the raw values of a feature matrix are unknown."""
        return None


def parse_rows(body: Any, max_rows: int) -> RowInput:
    """Return the rows of `{"rows": [{column: value}]}`.

    Raises:
        InvalidRowsError: the body has another form, no rows, or too many.
    """
    if type(body) is not dict or type(rows := body.get("rows")) is not list or not rows:
        raise InvalidRowsError('the body must be {"rows": [{column: value, ...}, ...]}, with at least one row')
    if len(rows) > max_rows:
        raise InvalidRowsError(f"{len(rows)} rows are more than {max_rows}, the limit of a request (service.max_rows)")
    for number, row in enumerate(rows):
        if type(row) is not dict:
            raise InvalidRowsError(f"rows[{number}] is not a mapping of columns to values")
    return RowInput(rows)
