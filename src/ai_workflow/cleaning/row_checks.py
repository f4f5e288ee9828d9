"""Checks of loaded rows: typed values, findings in rejected rows, and rows without a target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ai_workflow.config.settings import Column
from ai_workflow.datasets import coercion, parquet
from ai_workflow.datasets.kernels import clean_column
from ai_workflow.datasets.kernels.plain_text import Plain
from ai_workflow.datasets.partitions import ID, ROW, SOURCE
from ai_workflow.features.row_rules import RowRules

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


class CheckedRows(NamedTuple):
    """The clean rows; column, reason and mask of the rejected rows; and the number of rows without target."""

    clean: pa.Table
    findings: list[tuple[str, str, np.ndarray]]
    without_target: int


def check(
    table: pa.Table, columns: dict[str, Column], rules: RowRules, source: str, plain: dict[str, Plain]
) -> CheckedRows:
    """Return the typed rows that pass all checks, and the findings in the others; a row without target has none.

    Args:
        table: n loaded rows.
        columns: the declarations of the columns that are kept.
        rules: the rules of the rows.
        source: the name of the file of a table without `__source`.
        plain: plain values of columns that were read before; each is removed once it is used.
    """
    import numpy as np
    import pyarrow as pa

    typed: dict[str, Any] = {name: table[name] for name in (ROW, SOURCE) if name in table.column_names}
    findings: list[tuple[str, str, np.ndarray]] = []
    unlabelled = np.zeros(table.num_rows, dtype=bool)
    for name, column in columns.items():
        is_target = name == rules.target
        declared = column.model_copy(update={"nullable": False}) if is_target else column
        spelling = rules.spelling(name)
        typed[name], found = clean_column.clean(table[name], declared, rules.cells, spelling, plain.pop(name, None))
        if is_target:
            unlabelled = next((rows for reason, rows in found if reason == coercion.IS_MISSING), unlabelled)
        if is_target and rules.task == "classification":
            typed[name] = clean_column.to_category(typed[name])
        findings += [(name, reason, rejected) for reason, rejected in found]
    labelled = [(name, reason, rejected & ~unlabelled) for name, reason, rejected in findings]
    findings = [finding for finding in labelled if finding[2].any()]
    good = np.logical_and.reduce([~unlabelled, *(~rejected for _, _, rejected in findings)])
    typed[ID] = clean_column.to_text(typed[rules.id]) if rules.id else clean_column.row_ids(table, source)
    clean = parquet.with_frame_types(pa.table(typed))
    return CheckedRows(clean if good.all() else clean.filter(pa.array(good)), findings, int(unlabelled.sum()))
