"""Checks of the training rows before a training: the target suits the task, and a column varies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypedDict

from ai_workflow.datasets.column_profile import ColumnProfile
from ai_workflow.errors import StageError
from ai_workflow.telemetry.logs import logger

# Each class costs a tree in each step, and needs rows to learn from.
MAX_CLASSES = 1000
_FEW_CLASSES, _ROWS_PER_CLASS, _FEWEST_ROWS_PER_CLASS = 20, 5, 2
# Trees sum up squares in float32, which end at 3.4e38.
MAX_VALUE = 1e18
log = logger("feature_engineering")


class TrainingStatistics(TypedDict):
    """Statistics of the training rows by column; `held` has the classes of the holdout, None for a regression."""

    rows: int
    columns: dict[str, ColumnProfile]
    held: ColumnProfile | None


def classes(seen: TrainingStatistics, target: str, cutoff: str | None) -> list[str]:
    """Return the classes of the training rows, ordered as numbers where they are numbers, else as text.

    Args:
        seen: `rows`, `columns` and `held`: what the training rows and the holdout hold.
        target: the target column.
        cutoff: the moment from which rows are held out; None where the hash of the id decides.

    Raises:
        StageError: there is one class, there are too many for the rows, or a class appears after the cutoff only.
    """
    counts = seen["columns"][target]["counts"]
    trained = [value for value, _ in counts]
    if len(trained) < 2:
        raise StageError(
            f"target '{target}' has one class only in the training rows: {trained[0]!r}"
            if trained
            else f"target '{target}' has no value in the training rows",
            "Give rows of at least two classes",
        )
    _refuse_too_many(target, trained, seen["columns"][target]["present"])
    unseen = [
        (value, count) for value, count in (seen["held"]["counts"] if seen["held"] else []) if value not in set(trained)
    ]
    if unseen and cutoff:
        raise StageError(
            f"target '{target}' takes the value {unseen[0][0]!r} only from {cutoff} on ({unseen[0][1]} rows), "
            "after the split: no training row can teach it",
            "Lower evaluate.holdout, or leave those rows out",
        )
    if unseen:
        log.warning("class %r is in the holdout only (%d rows): every answer for it counts as wrong", *unseen[0])
    numbers = _numbers(trained)
    return sorted(trained) if numbers is None else [name for _, name in sorted(zip(numbers, trained, strict=True))]


def _refuse_too_many(target: str, trained: list[str], rows: int) -> None:
    count, numbers = len(trained), _numbers(trained)
    if count > _FEW_CLASSES and numbers is not None and any(number % 1 for number in numbers):
        problem = "values are numbers with decimals"
    elif count > MAX_CLASSES:
        problem = f"more than {MAX_CLASSES} classes cannot be learned"
    elif count > 2 and count > rows / (_ROWS_PER_CLASS if count > _FEW_CLASSES else _FEWEST_ROWS_PER_CLASS):
        problem = "hardly a class has rows to learn from"
    else:
        return
    remedy = (
        "Set task: regression"
        if numbers is not None
        else f"'{target}' looks like an id or free text: choose another target, or join rare classes into one"
    )
    shown = f"{count}" if count <= MAX_CLASSES else f"more than {MAX_CLASSES}"
    raise StageError(
        f"target '{target}' has {shown} classes in {rows} training rows (such as {trained[0]!r}): {problem}", remedy
    )


def _numbers(texts: list[str]) -> list[float] | None:
    """Return the numbers that all texts are, or None."""
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def numbers(seen: ColumnProfile, target: str) -> None:
    """Raise StageError if the target of a regression cannot be computed with.

    Args:
        seen: statistics of the target in the training rows.
        target: the target column.
    """
    if not seen["present"]:
        raise StageError(f"target '{target}' has no value in the training rows", "Give rows with a target")
    largest = max(abs(seen["min"]), abs(seen["max"]))
    if largest > MAX_VALUE:
        raise StageError(
            f"target '{target}' reaches {largest:.3g}: training sums up squares in float32, and overflows above "
            f"{MAX_VALUE:g}",
            "Divide the target by a constant, or set its min and max under `schema`",
        )
    if seen["min"] == seen["max"]:
        raise StageError(
            f"target '{target}' is {seen['min']:g} in every training row: there is nothing to learn",
            "Choose another target, or give rows in which it varies",
        )


def varies(columns: Mapping[str, ColumnProfile]) -> None:
    """Raise StageError if no column has two values, or gaps beside one value.

    Args:
        columns: column -> its statistics in the training rows.
    """
    if any(_varies(seen) for seen in columns.values()):
        return
    names = ", ".join(sorted(columns)[:5]) + (", ..." if len(columns) > 5 else "")
    raise StageError(
        f"no column varies in the training rows ({names}): each has one value, so nothing can be learned",
        "Give columns that vary, or more rows",
    )


def _varies(seen: ColumnProfile) -> bool:
    if seen["missing"] and seen["present"]:
        return True
    return len(seen["counts"]) > 1 if "counts" in seen else bool(seen["present"] and seen["min"] != seen["max"])
