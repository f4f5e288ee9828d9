"""What turned out to be true, as rows of one form: the prediction's id, the label as text, its moment.

A label is text as the target's classes are, or a number as Python writes it; a moment is in UTC, without zone. Without
a moment, a label is what its source says now.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ai_workflow.config.settings import Column
from ai_workflow.datasets.partitions import ROW
from ai_workflow.errors import StageError
from ai_workflow.telemetry.logs import logger

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from ai_workflow.quality.label_reader import LabelReader

MICROSECONDS = 1_000_000
# Beyond it JSON's whole numbers are no floats any more.
_LARGEST = 1e300
log = logger("labels")


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of a table hold the id, the label and its moment (None: it has none)."""

    key: str
    label: str
    time: str | None
    is_number: bool

    def check(self, there: list[str], name: str) -> None:
        """Refuse a table that lacks one of them.

        Raises:
            StageError: it does; said with the columns that it has.
        """
        for setting, column in (("id", self.key), ("label", self.label), ("time", self.time)):
            if column is not None and column not in there:
                raise StageError(
                    f"the labels in {name} have no column '{column}'; there is: {', '.join(there)}",
                    f"Set evaluation.{setting} to the column that holds it",
                )


def schema() -> pa.Schema:
    """Return the columns of labels."""
    import pyarrow as pa

    return pa.schema([("key", pa.string()), ("label", pa.string()), ("time", pa.timestamp("us"))])


def text_of(label: Any, *, is_number: bool) -> str | None:
    """Return the text of a label that no version can read, or None if it is no label; 1.0 is "1"."""
    if isinstance(label, str) and not is_number:
        return label or None
    if not isinstance(label, int | float) or not math.isfinite(label) or abs(label) > _LARGEST:
        return None
    if is_number:
        return None if isinstance(label, bool) else repr(float(label))
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)


def of_frame(frame: pd.DataFrame, columns: Columns, name: str, reader: LabelReader) -> tuple[pa.Table, Rejects]:
    """Return the labels of loaded rows, in their order, and those that are rejected.

    Rows without id or label are left out.

    Args:
        frame: n rows as the data loader gives them.
        columns: which of them matter.
        name: the file or table that they come from.
        reader: how labels are read.

    Raises:
        StageError: a moment cannot be read; the text names file and row.
    """
    import pandas as pd
    import pyarrow as pa

    text = Column(type="category", nullable=True)
    key = _read(frame, columns.key, text, name)
    label, rejects = read_all(frame[columns.label], reader, lambda place: f"{name}, row {frame[ROW].iloc[place]}")
    moment = (
        _read(frame, columns.time, Column(type="datetime", nullable=True), name)
        if columns.time
        else pd.Series(pd.NaT, index=frame.index, dtype="datetime64[us]")
    )
    made = pd.DataFrame({"key": key.astype("str"), "label": label.astype("str"), "time": moment})
    made = made[(key.notna() & label.notna()).to_numpy()]
    return pa.Table.from_pandas(made, schema(), preserve_index=False), rejects


@dataclass(frozen=True, slots=True)
class Rejects:
    """Labels that count for no prediction: how many, and the first with its place."""

    count: int = 0
    first: str = ""

    def __add__(self, other: Rejects) -> Rejects:
        """Return both together."""
        return Rejects(self.count + other.count, self.first or other.first)


def read_all(values: pd.Series, reader: LabelReader, place: Callable[[int], str]) -> tuple[pd.Series, Rejects]:
    """Return labels as text, missing where one is missing or rejected, and those that are rejected.

    Args:
        values: labels of any type.
        reader: how labels are read.
        place: returns the place of a label by its number.
    """
    from ai_workflow.quality.label_reader import MISSING, Rejected

    unique = values.dropna().unique().tolist()
    read = dict(zip(unique, reader.read(unique), strict=True))
    texts = values.map({value: None if isinstance(text, Rejected) else text for value, text in read.items()})
    refused = {value: text for value, text in read.items() if isinstance(text, Rejected) and text.reason != MISSING}
    hit = values.isin(list(refused)).to_numpy().nonzero()[0]
    if not len(hit):
        return texts, Rejects()
    first = int(hit[0])
    return texts, Rejects(len(hit), f"{place(first)}: the label {refused[values.iloc[first]].text}")


def _read(frame: pd.DataFrame, name: str, column: Column, source: str) -> pd.Series:
    from ai_workflow.datasets.coercion import coerce

    values, findings = coerce(frame[name], column)
    for reason, hit in findings:
        if hit.any():
            row = frame[ROW][hit.to_numpy()].iloc[0]
            more = f" (and {int(hit.sum()) - 1} more rows)" if hit.sum() > 1 else ""
            raise StageError(f"{source}, row {row}: column '{name}' {reason}{more}", "Mend the label, or leave it out")
    return values


def of_segment(data: bytes, name: str) -> Iterator[pa.Table]:
    """Yield the labels of a segment that a service wrote; a line that is torn is left out with a warning."""
    import pyarrow as pa

    lines: list[dict[str, Any]] = []
    for number, line in enumerate(data.splitlines(), 1):
        try:
            found = json.loads(line)
            moment = round(found["time"] * MICROSECONDS)
            lines.append({"key": str(found["prediction_id"]), "label": str(found["label"]), "time": moment})
        except (ValueError, KeyError, TypeError):
            log.warning("%s line %d is torn, and left out", name, number)
    columns = {column: [line[column] for line in lines] for column in ("key", "label", "time")}
    yield pa.table(columns).cast(schema()) if lines else schema().empty_table()
