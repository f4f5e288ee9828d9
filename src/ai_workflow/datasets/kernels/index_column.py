"""Index columns, as pandas writes them without a name: numbers of rows, which are no feature."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypedDict

from ai_workflow.datasets import fingerprint, partition_cache, partitions
from ai_workflow.datasets.partitions import SOURCE, Dataset, Partition
from ai_workflow.storage.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

# The name that pandas gives a first column without a name, and one that it has read and written several times.
_NAME = re.compile(r"Unnamed: 0(\.\d+)*")


class _Evidence(TypedDict):
    """Whether the values of a column in one partition can be an index."""

    is_index: bool


def find(store: Store, dataset: Dataset, names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the columns that are an index, and warnings about all columns with the name of one.

    An index has a different whole number from 0 on in each row of a file.

    Args:
        store: the store of the partitions.
        dataset: loaded partitions.
        names: undeclared columns without a role.
    """
    indexes, warnings = [], []
    for name in names:
        if not _NAME.fullmatch(name):
            continue
        if all(_is_index(store, part, name) for part in dataset.partitions):
            indexes.append(name)
            warnings.append(
                f"column '{name}', the first one without a name, numbers the rows and is left out of the features. "
                f'Add source: {{drop: ["{name}"]}} if that is right, or declare it to use it: '
                f'schema: {{"{name}": {{type: integer}}}}'
            )
        else:
            warnings.append(
                f"the first column has no name and does not number the rows, so it is read as '{name}'. "
                f'Name it in the header, or add source: {{drop: ["{name}"]}} to leave it out'
            )
    return indexes, warnings


def _is_index(store: Store, part: Partition, name: str) -> bool:
    def compute(_: str) -> _Evidence:
        table = partitions.table(store, part, [SOURCE, name])
        # The reader ignores a column that is not there, and takes a name with a dot for a part of a column.
        columns = [each for each in (SOURCE, name) if each in table.column_names]
        return {"is_index": _numbers_rows(table.select(columns), name)}

    key = fingerprint.of("index", fingerprint.code_version(__name__), part.sha256, name)
    return partition_cache.cached(store, "signs", key, compute)["is_index"]


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
