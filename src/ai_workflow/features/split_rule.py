"""Rule of the holdout split, fitted on the clean rows."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

from ai_workflow.config.settings import Split
from ai_workflow.datasets import partitions, split
from ai_workflow.datasets.partitions import ID, Dataset
from ai_workflow.errors import StageError
from ai_workflow.storage.store import Store

if TYPE_CHECKING:
    import numpy as np

    from ai_workflow.datasets.split import SplitRule


def fit(
    store: Store, clean: Dataset, options: Split | None, share: float, target: str, timestamp: str | None
) -> SplitRule:
    """Return the rule that splits clean rows into training rows and holdout.

    Args:
        store: has the rows.
        clean: the clean rows.
        options: the kind of the split; None is by time if there is a timestamp, else by id.
        share: the share of rows that is held out.
        target: the target column.
        timestamp: the timestamp column.

    Raises:
        StageError: a column is missing, or too many rows have the first timestamp.
    """
    rule: SplitRule = {"holdout": share, "timestamp": timestamp, "cutoff": None}
    if options is None or options.kind == "time":
        start = options.start if options else None
        if start:
            moment = start if start.tzinfo is None else start.astimezone(UTC).replace(tzinfo=None)
            rule["cutoff"] = moment.isoformat()
        elif timestamp:
            rule["cutoff"] = split.cutoff(store, clean, timestamp, share)
    elif options.kind == "stratified":
        rule |= {"class_column": target, "class_limits": _class_limits(store, clean, target, share)}
    elif options.kind == "group":
        rule["group"] = _existing(clean, options.column)
    elif options.kind == "column":
        rule |= {"column": _existing(clean, options.column), "values": list(options.values)}
    elif options.kind == "file":
        rule["files"] = list(options.files)
    return rule


def _existing(clean: Dataset, column: str) -> str:
    if column not in clean.info["schema"]:
        raise StageError(
            f"evaluate.split.column '{column}' is not a column of the data: {', '.join(clean.info['schema'])}"[:500],
            "Fix evaluate.split.column",
        )
    return column


def _class_limits(store: Store, clean: Dataset, target: str, share: float) -> dict[str, int]:
    """Return class -> largest hash of its rows that are held out; a class with one row has no limit."""
    import numpy as np

    hashes: dict[str, list[np.ndarray]] = {}
    for _, frame in partitions.frames(store, clean, [ID, target]):
        hashed = split.id_hashes(frame)
        for name, rows in frame.groupby(target, sort=False, observed=True).indices.items():
            hashes.setdefault(str(name), []).append(hashed[rows])
    limits = {}
    for name, parts in sorted(hashes.items()):
        ordered = np.sort(np.concatenate(parts))
        count = min(max(round(len(ordered) * share), 1), len(ordered) - 1)
        if count:
            limits[name] = int(ordered[count - 1])
    return limits


def training_columns(rule: SplitRule, weight: str | None, roles: tuple[str | None, ...]) -> list[str]:
    """Return the columns without a role that only the training needs, and that are no features.

    Args:
        rule: the rule of the split.
        weight: the column of weights.
        roles: the target, id and timestamp columns.
    """
    return [name for name in (rule.get("group"), rule.get("column"), weight) if name and name not in roles]
