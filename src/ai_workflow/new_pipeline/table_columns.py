"""Types and statistics of the columns of a table, read by the loader and the type inference of a training."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ai_workflow.cleaning import single_read
from ai_workflow.cleaning.column_types import ColumnTypes
from ai_workflow.config.settings import Column, FileSource
from ai_workflow.datasets import partitions
from ai_workflow.datasets.cells import CellRules
from ai_workflow.datasets.kernels import type_inference
from ai_workflow.datasets.kernels.loaded_partition import LoadedPartition
from ai_workflow.datasets.notation.published import NO_TYPES
from ai_workflow.datasets.partitions import Dataset, Partition
from ai_workflow.features.row_rules import RowRules
from ai_workflow.stages import data_loader
from ai_workflow.storage.store import Store

if TYPE_CHECKING:
    import pandas as pd

_REJECT_LIMIT = 0.01
_MAX_CLASSES = 20
_DROPPED = Column(type="text", drop=True)


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column of a table.

    Args:
        name: its name.
        column: its declaration by the values.
        rows: rows of the table.
        distinct: number of different values.
        missing: rows without a value.
        common: its most frequent values with their counts, if there are few different ones.
        first: the smallest value of a datetime.
        last: the largest value of a datetime.
    """

    name: str
    column: Column
    rows: int
    distinct: int
    missing: int
    common: tuple[tuple[str, int], ...] = ()
    first: str = ""
    last: str = ""

    @property
    def is_unique(self) -> bool:
        """Whether each row has another value."""
        return self.missing == 0 and self.distinct == self.rows


@dataclass(frozen=True, slots=True)
class Table:
    """The columns of a table, the names of those without any value, and doubts about types with their settings."""

    rows: int
    columns: tuple[TableColumn, ...]
    empty: tuple[str, ...]
    warnings: tuple[str, ...]


def read(source: FileSource) -> Table:
    """Return the columns of a table.

    Raises:
        StageError: it has no rows, or cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="ai-workflow-") as folder:
        store = Store(folder)
        loaded = Dataset.load(store, data_loader.load(store, source, data_loader.inspect(source)))
        rules = _rules(source, {})
        empty = _empty_text_columns(store, loaded, rules)
        rules = _rules(source, dict.fromkeys(empty, _DROPPED))
        cleaned, columns, warnings = single_read.clean(store, loaded, ColumnTypes.of(store, loaded, rules, NO_TYPES))
        # Sources with types of their own may have columns without a value, too.
        empty += [name for name in columns if not any(each.present[name] for each in cleaned)]
        parts = [each.part for each in cleaned if each.part.rows]
        facts = [_column(store, parts, name, column) for name, column in columns.items() if name not in empty]
    return Table(loaded.rows, tuple(facts), tuple(empty), tuple(warnings))


def _rules(source: FileSource, columns: dict[str, Column]) -> RowRules:
    return RowRules(
        columns=columns, id=None, timestamp=None, target=None, task="classification", deduplicate="none",
        reject_limit=_REJECT_LIMIT, decimal=source.decimal, thousands=source.thousands,
        cells=CellRules.of_source(source),
    )  # fmt: skip


def _empty_text_columns(store: Store, dataset: Dataset, rules: RowRules) -> list[str]:
    """Return the text columns without any value, which a training refuses."""
    types = ColumnTypes.of(store, dataset, rules, NO_TYPES)
    evidence = [
        type_inference.count_evidence(LoadedPartition(store, part), types.inferred, types.text_rules)
        for part in dataset.partitions
    ]
    return [name for name in types.inferred if not any(part[name]["present"] for part in evidence)]


def _column(store: Store, parts: Sequence[Partition], name: str, column: Column) -> TableColumn:
    import pandas as pd

    values = pd.concat([partitions.read(store, part, [name])[name] for part in parts], ignore_index=True)
    present = values.dropna()
    distinct = int(present.nunique())
    dates = (str(present.min()), str(present.max())) if column.type == "datetime" and len(present) else ("", "")
    common = _common(present) if distinct <= _MAX_CLASSES else ()
    return TableColumn(name, column, len(values), distinct, len(values) - len(present), common, *dates)


def _common(present: pd.Series) -> tuple[tuple[str, int], ...]:
    counts = present.astype("str").value_counts()
    pairs = sorted(((str(value), int(count)) for value, count in counts.items()), key=lambda pair: (-pair[1], pair[0]))
    return tuple(pairs)
