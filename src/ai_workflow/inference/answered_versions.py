"""Number of predictions of each version in a period, from stored predictions of the service and scoring runs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ai_workflow.inference.stored_predictions import StoredPredictions

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(slots=True)
class PredictionCount:
    """The number of rows that a version predicted.

    Args:
        version: its name; `default` for default responses.
        service: rows of the inference service.
        scoring: rows of scoring runs.
        first: time of the oldest prediction.
        last: time of the newest prediction.
        reasons: rows by the reason of the fallback, as the service stores it.
    """

    version: str
    service: int = 0
    scoring: int = 0
    first: datetime | None = None
    last: datetime | None = None
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def rows(self) -> int:
        """All rows."""
        return self.service + self.scoring

    def add(self, table: pa.Table, *, by_service: bool) -> None:
        """Count the rows of a table with `made` and `fallback_reason`."""
        import pyarrow.compute as pc

        if not table.num_rows:
            return
        self.service += table.num_rows if by_service else 0
        self.scoring += 0 if by_service else table.num_rows
        ends = pc.min_max(table["made"]).as_py()
        self.first = min(filter(None, (self.first, ends["min"].replace(tzinfo=UTC))))
        self.last = max(filter(None, (self.last, ends["max"].replace(tzinfo=UTC))))
        for reason in pc.value_counts(table["fallback_reason"].drop_null()).to_pylist():
            self.reasons[reason["values"]] += reason["counts"]


def count(predictions: StoredPredictions, begin: datetime, end: datetime) -> list[PredictionCount]:
    """Return the predictions of each version from `begin` to before `end`, the version with most rows first.

    Rows of a scoring run count at the start of the run, or at the time of storage if its journal was deleted. Damaged
    files are left out with a warning.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    low, high = (pa.scalar(time.astimezone(UTC).replace(tzinfo=None), pa.timestamp("us")) for time in (begin, end))
    counts: dict[str, PredictionCount] = {}
    for version, part in predictions.parts(begin.timestamp()):
        for table, by_service in predictions.answers(part):
            within = pc.and_(pc.greater_equal(table["made"], low), pc.less(table["made"], high))
            counts.setdefault(version, PredictionCount(version)).add(table.filter(within), by_service=by_service)
    return sorted([count for count in counts.values() if count.rows], key=lambda count: (-count.rows, count.version))
