"""Whole numbers that may be timestamps: the time since 1970, and dates with a time in 14 digits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ai_workflow.datasets.notation import remedies

if TYPE_CHECKING:
    from ai_workflow.datasets.column_profile import ColumnProfile

_COMPACT_TIME = "%Y%m%d%H%M%S"
_SECONDS = {"epoch_s": 1.0, "epoch_ms": 0.001}
_FIRST, _LAST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2035, 1, 1, tzinfo=UTC)


def warnings(columns: Mapping[str, ColumnProfile], names: Iterable[str]) -> list[str]:
    """Return the warnings about undeclared columns of integers whose values may all be timestamps.

    Args:
        columns: column -> its profile in the training rows.
        names: undeclared columns of integers that are features.
    """
    texts = []
    for name in names:
        seen = columns[name]
        for form in (*_SECONDS, _COMPACT_TIME) if seen["present"] else ():
            moments = [_moment(seen[bound], form) for bound in ("min", "max")]
            if all(moment and _FIRST <= moment < _LAST for moment in moments):
                first, last = (f"{moment:%Y-%m-%d}" for moment in moments if moment)
                texts.append(remedies.maybe_timestamp(name, form, first, last))
    return texts


def _moment(value: float, form: str) -> datetime | None:
    """Return a number as a timestamp, None if it is none of this form."""
    try:
        if form == _COMPACT_TIME:
            return datetime.strptime(f"{value:.0f}", form).replace(tzinfo=UTC)
        return datetime.fromtimestamp(value * _SECONDS[form], UTC)
    except (ValueError, OverflowError, OSError):
        return None
