"""Which versions answered in a period, by the stored predictions of the service and of scoring runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ai_workflow.inference.stored_predictions import Predictions

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(slots=True)
class Answers:
    """Rows that a version answered.

    Args:
        version: its name; `default`: no version answered.
        service: rows of the inference service.
        scoring: rows of scoring runs.
        first: the moment of the oldest.
        last: the moment of the newest.
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
        for counted in pc.value_counts(table["fallback_reason"].drop_null()).to_pylist():
            self.reasons[counted["values"]] += counted["counts"]


def count(predictions: Predictions, begin: datetime, end: datetime) -> list[Answers]:
    """Return the answers of each version from `begin` to before `end`, the version with most rows first.

    Rows of a scoring run count at the begin of the run; where its journal was deleted, when they were stored. Damaged
    files are left out with a warning.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    low, high = (pa.scalar(moment.astimezone(UTC).replace(tzinfo=None), pa.timestamp("us")) for moment in (begin, end))
    found: dict[str, Answers] = {}
    for version, part in predictions.parts(begin.timestamp()):
        for table, by_service in predictions.answers(part):
            within = pc.and_(pc.greater_equal(table["made"], low), pc.less(table["made"], high))
            found.setdefault(version, Answers(version)).add(table.filter(within), by_service=by_service)
    return sorted(_with_rows(found.values()), key=lambda one: (-one.rows, one.version))


def _with_rows(found: Iterable[Answers]) -> list[Answers]:
    return [one for one in found if one.rows]
