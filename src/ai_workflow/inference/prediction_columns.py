"""Columns of `predictions/` that depend on the pipeline: its ID column, and a probability for each class."""

from __future__ import annotations

from collections.abc import Sequence

# With more classes, `score` is the only probability that is stored.
MAX_CLASSES = 20
_PROBABILITY = "probability_"
_FIXED = frozenset((
    "prediction_id", "id", "row", "source", "time", "prediction", "score", "model_version", "fallback_reason",
    "trace_id", "features", "values",
))  # fmt: skip


def of_id(name: str | None) -> str | None:
    """Return the column that repeats `id` under its name in the source.

    None if the pipeline has no ID column, or its name is that of another column of `predictions/`.
    """
    return None if name is None or name in _FIXED or name.startswith(_PROBABILITY) else name


def of_classes(classes: Sequence[str] | None) -> list[str]:
    """Return a column for each class; none for a regression and for more than MAX_CLASSES classes."""
    return [f"{_PROBABILITY}{name}" for name in classes] if classes and len(classes) <= MAX_CLASSES else []
