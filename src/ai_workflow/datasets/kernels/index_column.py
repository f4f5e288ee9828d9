"""Columns without a name: an index, as pandas writes it, and empty columns of delimiters at the end of the rows."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypedDict

from ai_workflow.datasets import fingerprint, partition_cache, partitions
from ai_workflow.datasets.partitions import SOURCE, Dataset, Partition
from ai_workflow.storage.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

# The name that pandas gives a column without a name, and one that it has read and written several times.
_NAME = re.compile(r"Unnamed: (\d+)(?:\.\d+)*")


class _Evidence(TypedDict):
    """Whether the values of a column in one partition can be an index, and whether there are none."""

    is_index: bool
    is_empty: bool


def find(store: Store, dataset: Dataset, names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the columns that are left out, and warnings about all columns without a name.

    A first column is left out if it is an index, which has a different whole number from 0 on in each row of a file;
    another column is left out if it has no value.

    Args:
        store: the store of the partitions.
        dataset: loaded partitions.
        names: undeclared columns without a role.
    """
    left_out, warnings = [], []
    for name in names:
        match = _NAME.fullmatch(name)
        if not match:
            continue
        is_first = match[1] == "0"
        parts = [_evidence(store, part, name) for part in dataset.partitions]
        if all(part["is_index"] if is_first else part["is_empty"] for part in parts):
            left_out.append(name)
            warnings.append(_index(name) if is_first else _empty(name))
        else:
            warnings.append(_unnamed(name, "the first column" if is_first else f"column {int(match[1]) + 1}", is_first))
    return left_out, warnings


def _index(name: str) -> str:
    return (
        f"column '{name}', the first one without a name, numbers the rows and is left out of the features. "
        f'Add source: {{drop: ["{name}"]}} if that is right, or declare it to use it: '
        f'schema: {{"{name}": {{type: integer}}}}'
    )


def _empty(name: str) -> str:
    return (
        f"column '{name}' has no name and no value, as with a delimiter at the end of each row, and is left out. "
        f'Add source: {{drop: ["{name}"]}} if that is right'
    )


def _unnamed(name: str, place: str, is_first: bool) -> str:
    reason = " and does not number the rows" if is_first else ""
    return (
        f"{place} has no name{reason}, so it is read as '{name}'. "
        f'Name it in the header, or add source: {{drop: ["{name}"]}} to leave it out'
    )


def _evidence(store: Store, part: Partition, name: str) -> _Evidence:
    def compute(_: str) -> _Evidence:
        table = partitions.table(store, part, [SOURCE, name])
        # The reader ignores a column that is not there, and takes a name with a dot for a part of a column.
        columns = [each for each in (SOURCE, name) if each in table.column_names]
        is_empty = table[name].null_count == table.num_rows
        return {"is_index": _numbers_rows(table.select(columns), name), "is_empty": is_empty}

    key = fingerprint.of("index", fingerprint.code_version(__name__), part.sha256, name)
    return partition_cache.cached(store, "signs", key, compute)


def _numbers_rows(table: pa.Table, name: str) -> bool:
    """Return whether each row of a file has another whole number from 0 on; missing ones do not count."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        numbers = table[name].cast(pa.int64())
    except pa.ArrowException:
        return False
    if (pc.min(numbers).as_py() or 0) < 0:
        return False
    table = table.set_column(table.column_names.index(name), name, numbers).filter(pc.is_valid(numbers))
    return bool(table.group_by(table.column_names).aggregate([]).num_rows == table.num_rows)
