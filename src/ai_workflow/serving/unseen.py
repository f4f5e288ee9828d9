"""Counts of the categories that callers send and training never saw, by version and column."""

from __future__ import annotations

from collections.abc import Sequence

from ai_workflow import metrics
from ai_workflow.serving.encoder import Encoder, Row

_NAME = "inference_unseen_category_total"


class UnseenCategories:
    """The counters of one pipeline; they are shown as 0 as soon as a version is loaded.

    Args:
        pipeline: the pipeline that is served.
    """

    def __init__(self, pipeline: str) -> None:
        self._pipeline = pipeline
        self._columns: dict[str, tuple[str, ...]] = {}

    def show(self, version: str, encoder: Encoder) -> None:
        """Show the counters of a version."""
        self._columns[version] = tuple(encoder.categories)
        for column in self._columns[version]:
            metrics.get(_NAME).labels(self._pipeline, version, column)

    def count(self, version: str, encoder: Encoder, rows: Sequence[Row], data: bytes) -> None:
        """Count the unseen values in rows that a version answered.

        Args:
            version: its name.
            encoder: its encoder.
            rows: the rows as they were sent.
            data: the numbers that the encoder made of them.
        """
        for column, values in encoder.unseen(rows, data).items():
            metrics.get(_NAME).labels(self._pipeline, version, column).inc(values)

    def forget(self, version: str) -> None:
        """Remove the counters of a version."""
        for column in self._columns.pop(version, ()):
            metrics.forget(_NAME, self._pipeline, version, column)
