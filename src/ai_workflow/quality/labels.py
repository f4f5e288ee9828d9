"""Ground-truth labels in canonical form: prediction ID, label as text, timestamp.

A label is the text of a class, or a number as Python writes it. Timestamps are in UTC, without a time zone; a label
without one is the current label of its source.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ai_workflow.config.settings import Column
from ai_workflow.datasets.partitions import ROW, SOURCE
from ai_workflow.errors import StageError
from ai_workflow.telemetry.logs import logger

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from ai_workflow.quality.label_reader import LabelReader

MICROSECONDS = 1_000_000
# Larger integers of JSON may not fit into a float.
_MAX_NUMBER = 1e300
log = logger("labels")


@dataclass(frozen=True, slots=True)
class LabelColumns:
    """The columns of a table with the ID, the label and its timestamp (None: there is none)."""

    key: str
    label: str
    time: str | None
    is_number: bool

    def check(self, available: list[str], name: str) -> None:
        """Check that a table has these columns.

        Raises:
            StageError: a column is missing.
        """
        for setting, column in (("id", self.key), ("label", self.label), ("time", self.time)):
            if column is not None and column not in available:
                raise StageError(
                    f"the labels in {name} have no column '{column}'; available: {', '.join(available)}",
                    f"Set evaluation.{setting} to the column that holds it",
                )


def schema() -> pa.Schema:
    """Return the schema of labels."""
    import pyarrow as pa

    return pa.schema([("key", pa.string()), ("label", pa.string()), ("time", pa.timestamp("us"))])


def text_of(label: Any, *, is_number: bool) -> str | None:
    """Return the text of a label without a feature spec, or None if it is no label; 1.0 is "1"."""
    if isinstance(label, str) and not is_number:
        return label or None
    if not isinstance(label, int | float) or not math.isfinite(label) or abs(label) > _MAX_NUMBER:
        return None
    if is_number:
        return None if isinstance(label, bool) else repr(float(label))
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)


def of_frame(
    frame: pd.DataFrame, columns: LabelColumns, name: str, reader: LabelReader
) -> tuple[pa.Table, RejectCount]:
    """Return the labels of loaded rows, in their order, and the rejected ones.

    Rows without ID or label are left out.

    Args:
        frame: n rows of the data loader.
        columns: the columns to read.
        name: the file or table of the rows without `__source`, for messages.
        reader: the reader of labels.

    Raises:
        StageError: a timestamp cannot be read; the text names file and row.
    """
    import pandas as pd
    import pyarrow as pa

    text = Column(type="category", nullable=True)
    key = _read(frame, columns.key, text, name)
    label, rejects = read_all(frame[columns.label], reader, lambda index: _location(frame, index, name))
    time = (
        _read(frame, columns.time, Column(type="datetime", nullable=True), name)
        if columns.time
        else pd.Series(pd.NaT, index=frame.index, dtype="datetime64[us]")
    )
    rows = pd.DataFrame({"key": key.astype("str"), "label": label.astype("str"), "time": time})
    rows = rows[(key.notna() & label.notna()).to_numpy()]
    return pa.Table.from_pandas(rows, schema(), preserve_index=False), rejects


@dataclass(frozen=True, slots=True)
class RejectCount:
    """The number of rejected labels, and the first one with its location."""

    count: int = 0
    first: str = ""

    def __add__(self, other: RejectCount) -> RejectCount:
        """Return the sum."""
        return RejectCount(self.count + other.count, self.first or other.first)


def read_all(values: pd.Series, reader: LabelReader, location: Callable[[int], str]) -> tuple[pd.Series, RejectCount]:
    """Return labels as text, missing if a label is missing or rejected, and the rejected ones.

    Args:
        values: labels of any type.
        reader: the reader of labels.
        location: returns the location of a label by its index, for messages.
    """
    from ai_workflow.quality.label_reader import MISSING, RejectedLabel

    unique = values.dropna().unique().tolist()
    read = dict(zip(unique, reader.read(unique), strict=True))
    texts = values.map({value: None if isinstance(text, RejectedLabel) else text for value, text in read.items()})
    rejected = {
        value: text for value, text in read.items() if isinstance(text, RejectedLabel) and text.reason != MISSING
    }
    hit = values.isin(list(rejected)).to_numpy().nonzero()[0]
    if not len(hit):
        return texts, RejectCount()
    first = int(hit[0])
    return texts, RejectCount(len(hit), f"{location(first)}: the label {rejected[values.iloc[first]].text}")


def _read(frame: pd.DataFrame, name: str, column: Column, source: str) -> pd.Series:
    from ai_workflow.datasets.coercion import coerce

    values, findings = coerce(frame[name], column)
    for reason, hit in findings:
        if hit.any():
            location = _location(frame, int(hit.to_numpy().nonzero()[0][0]), source)
            more = f" (and {int(hit.sum()) - 1} more rows)" if hit.sum() > 1 else ""
            raise StageError(f"{location}: column '{name}' {reason}{more}", "Fix the label, or leave it out")
    return values


def _location(frame: pd.DataFrame, index: int, source: str) -> str:
    """Return file and row number of the row at a position of a frame of loaded rows."""
    return f"{frame[SOURCE].iloc[index] if SOURCE in frame else source}, row {frame[ROW].iloc[index]}"


def of_segment(data: bytes, name: str) -> Iterator[pa.Table]:
    """Yield the labels of a segment of the service; an incomplete line is skipped with a warning."""
    import pyarrow as pa

    lines: list[dict[str, Any]] = []
    for number, line in enumerate(data.splitlines(), 1):
        try:
            label = json.loads(line)
            time = round(label["time"] * MICROSECONDS)
            lines.append({"key": str(label["prediction_id"]), "label": str(label["label"]), "time": time})
        except (ValueError, KeyError, TypeError):
            log.warning("%s line %d is incomplete and skipped", name, number)
    columns = {column: [line[column] for line in lines] for column in ("key", "label", "time")}
    yield pa.table(columns).cast(schema()) if lines else schema().empty_table()
