"""Quarantine of rejected rows: source, row, column, reason and the whole record."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ai_workflow import json_text
from ai_workflow.datasets import parquet, partitions
from ai_workflow.datasets.partitions import RESERVED, ROW, Partition
from ai_workflow.storage.file_ref import FileRef
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import trace_context

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

FOLDER = "quarantine"
COLUMNS = ("source", "row", "column", "value", "reason", "record")
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class RejectedRows:
    """The rejected rows of a run: their number, a summary of the reasons, and the file with the rows."""

    rows: int
    summary: str
    ref: FileRef | None


def table(frame: pd.DataFrame, findings: list[tuple[str, str, pd.Series]], source: str) -> pa.Table:
    """Return a table with one line per (row, column, reason).

    Args:
        frame: loaded rows, with the column `__row`.
        findings: column, reason, and a mask over the rows of the frame.
        source: the name of the source file, for a frame without `__source`.
    """
    import numpy as np
    import pandas as pd

    numbers = np.flatnonzero(np.logical_or.reduce([rows.to_numpy(dtype=bool) for _, _, rows in findings]))
    rejected = frame.iloc[numbers]
    files = partitions.row_sources(rejected, source).tolist()
    row_numbers = rejected[ROW].tolist()
    values = {name: _plain_values(rejected[name]) for name in map(str, rejected) if not name.startswith(RESERVED)}
    records = [
        json_text.line(json_text.finite(dict(zip(values, cells, strict=True))), sort_keys=False)
        for cells in zip(*values.values(), strict=True)
    ]
    lines: list[tuple[Any, ...]] = []
    for column, reason, rows in findings:
        cells = values.get(column, [None] * len(numbers))
        for at in np.flatnonzero(rows.to_numpy(dtype=bool)[numbers]).tolist():
            shown = "" if cells[at] is None else str(cells[at])
            lines.append((files[at], int(row_numbers[at]), column, shown, reason, records[at]))
    order = {file: number for number, file in enumerate(dict.fromkeys(files))}
    lines.sort(key=lambda line: (order[line[0]], line[1], line[2]))
    return parquet.to_table(pd.DataFrame(lines, columns=list(COLUMNS)))


def of_table(loaded: pa.Table, findings: list[tuple[str, str, np.ndarray]], source: str) -> pa.Table:
    """Return the result of `table` for loaded rows as an Arrow table, and findings with boolean masks."""
    import numpy as np
    import pandas as pd

    rows = np.flatnonzero(np.logical_or.reduce([rejected for _, _, rejected in findings]))
    frame = parquet.to_frame(loaded.take(rows))
    masks = [(name, reason, pd.Series(rejected[rows])) for name, reason, rejected in findings]
    return table(frame, masks, source)


def write_report(store: Store, parts: list[Partition], name: str = "rejected") -> RejectedRows:
    """Write the rejected rows of all partitions as `quarantine/<trace_id>/<name>.csv` and summarize them."""
    if not parts:
        return RejectedRows(0, "", None)
    rows = 0
    reasons: Counter[tuple[str, str]] = Counter()
    first: dict[tuple[str, str], str] = {}
    with store.writing(f"{FOLDER}/{trace_context.current() or 'untraced'}/{name}.csv") as pending:
        for number, part in enumerate(parts):
            frame = partitions.read(store, part)
            rows += len(frame.drop_duplicates(["source", "row"]))
            for names, group in frame.groupby(["column", "reason"], sort=False):
                column, reason = map(str, names)
                reasons[column, reason] += len(group)
                head = group.iloc[0]
                first.setdefault((column, reason), f"{head['source']} row {head['row']}: {_cut(head['value'])}")
            frame.to_csv(pending.local, mode="a", header=number == 0, index=False)
    summary = "; ".join(
        f"{count}x {column} {reason} (first: {first[column, reason]})"
        for (column, reason), count in reasons.most_common(_SHOWN)
    )
    return RejectedRows(rows, f"{summary}; all of them in {store.url(pending.ref.path)}", pending.ref)


def _plain_values(column: pd.Series) -> list[Any]:
    """Return the values of a column as JSON has them, None if missing; a timestamp is text."""
    import pandas as pd

    values = column.astype(object).where(column.notna(), None).tolist()
    if isinstance(column.dtype, pd.StringDtype):
        return values
    return [value if isinstance(value, str | int | float | bool | None) else str(value) for value in values]


def _cut(text: str, most: int = 40) -> str:
    """Return a value for a message, shortened; the loader has no text for a missing one."""
    if not text:
        return "an empty cell or a value of source.missing"
    return repr(text if len(text) <= most else text[:most] + "…")
