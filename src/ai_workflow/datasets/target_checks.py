"""Checks before a training: the target suits the task, and at least one column varies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypedDict

from ai_workflow.datasets.column_profile import ColumnProfile
from ai_workflow.errors import StageError
from ai_workflow.telemetry.logs import logger

# Each class adds a tree to each step, and needs training rows.
MAX_CLASSES = 1000
_FEW_CLASSES, _ROWS_PER_CLASS, _FEWEST_ROWS_PER_CLASS = 20, 5, 2
# Trees sum squares in float32, whose maximum is 3.4e38.
MAX_VALUE = 1e18
log = logger("feature_engineering")


class TrainingStatistics(TypedDict):
    """Statistics of the training rows by column, and warnings about columns.

    `holdout` has the classes of the holdout, None for a regression.
    """

    rows: int
    columns: dict[str, ColumnProfile]
    holdout: ColumnProfile | None
    warnings: list[str]


def check(seen: TrainingStatistics, task: str, target: str, cutoff: str | None) -> list[str] | None:
    """Return the classes of a classification, None for a regression.

    Raises:
        StageError: `classes` or `numbers` refuses the target.
    """
    if task == "classification":
        return classes(seen, target, cutoff)
    numbers(seen["columns"][target], target)
    return None


def classes(seen: TrainingStatistics, target: str, cutoff: str | None) -> list[str]:
    """Return the classes of the training rows, in numeric order if all are numbers, else sorted as text.

    Args:
        seen: profiles of the training rows (`rows`, `columns`) and of the target in the holdout (`holdout`).
        target: the target column.
        cutoff: the time from which rows are held out; None if the split is by hash.

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
        (value, count)
        for value, count in (seen["holdout"]["counts"] if seen["holdout"] else [])
        if value not in set(trained)
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
    """Return the texts as numbers, None if one is not a finite number."""
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def numbers(seen: ColumnProfile, target: str) -> None:
    """Raise StageError if a regression cannot be trained on the target.

    Args:
        seen: profile of the target in the training rows.
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


def weights(seen: ColumnProfile | None, column: str) -> None:
    """Raise StageError if a column cannot weigh the training rows.

    Args:
        seen: profile of the column in the training rows; None if there is no such column.
        column: the column of the weights.
    """
    if seen is None:
        raise StageError(f"trainer.weight '{column}' is not a column of the data", "Fix trainer.weight")
    if "min" not in seen:
        raise StageError(f"trainer.weight '{column}' has no numbers", f"Declare schema: {{{column}: {{type: number}}}}")
    if seen["missing"] or seen["min"] < 0 or not 0 < seen["max"] < MAX_VALUE:
        raise StageError(
            f"trainer.weight '{column}' has {seen['missing']} missing values and is between {seen['min']:g} and "
            f"{seen['max']:g} in the training rows",
            "Give each row a weight of 0 or more, and at least one row more than 0",
        )


def varies(columns: Mapping[str, ColumnProfile]) -> None:
    """Raise StageError if each column has a single value and no gaps.

    Args:
        columns: column -> its profile in the training rows.
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
