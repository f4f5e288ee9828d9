"""Counters of categories in requests that the training data did not have, by version and column."""

from __future__ import annotations

from collections.abc import Mapping

from ai_workflow.features.row_encoder import Encoder
from ai_workflow.serving.exemplars import Exemplars
from ai_workflow.telemetry import metrics

_NAME, KIND = "inference_unseen_category_total", "unseen"


class UnseenCategories:
    """The counters of one pipeline; they start at 0 as soon as a version is loaded.

    Args:
        pipeline: the pipeline that is served.
        exemplars: the exemplars of requests with unseen categories.
    """

    def __init__(self, pipeline: str, exemplars: Exemplars) -> None:
        self._pipeline, self._exemplars = pipeline, exemplars
        self._columns: dict[str, tuple[str, ...]] = {}

    def initialize(self, version: str, encoder: Encoder) -> None:
        """Create the counters of a version at 0."""
        self._columns[version] = tuple(encoder.categories)
        for column in self._columns[version]:
            metrics.get(_NAME).labels(self._pipeline, version, column)

    def count(self, version: str, unseen: Mapping[str, int], trace_id: str) -> None:
        """Count the unseen values of a request, unless the version was removed meanwhile.

        Args:
            version: the name of the version that returned the result.
            unseen: the number of unseen values by column.
            trace_id: the trace of the request.
        """
        if version not in self._columns:
            return
        for column, values in unseen.items():
            metrics.get(_NAME).labels(self._pipeline, version, column).inc(values)
            self._exemplars.record(version, KIND, trace_id, column=column)

    def forget(self, version: str) -> None:
        """Remove the counters of a version."""
        for column in self._columns.pop(version, ()):
            metrics.remove_labels(_NAME, self._pipeline, version, column)
