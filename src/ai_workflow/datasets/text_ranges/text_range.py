"""Range of rows of a text file: what it contains, where it is, and its rows as tables."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypedDict

from ai_workflow.datasets.text_ranges import parser
from ai_workflow.datasets.text_ranges.parser import Dialect, UnusualTextError
from ai_workflow.errors import StageError

if TYPE_CHECKING:
    import pyarrow as pa

_CHUNK = 1 << 20
_REMEDY = (
    "Run the pipeline again: it loads the source again. source.keep_copy: true keeps a copy of the rows in the store"
)


class RangeColumn(TypedDict):
    """A column: its position in the text, or else the value of all rows."""

    name: str
    position: int | None
    value: str | None


class TextForm(TypedDict):
    """Form of a text: number of columns, delimiter, quote, missing words, and the columns to read."""

    width: int
    delimiter: str
    quote: str
    missing: list[str]
    strip: bool
    columns: list[RangeColumn]


class TextRange(TextForm):
    """Content of a range, stored as JSON: all that its rows depend on, but not the name of the file.

    `sha256` is the digest of the bytes, `first_row` the number of the first row, as in a spreadsheet.
    """

    sha256: str
    first_row: int
    rows: int


class TextPlace(TypedDict):
    """Place of a range: file, offset, digest, and the lengths of the pieces, each of whole rows, in bytes.

    `file` is empty in cached records, because a moved file has the same rows.
    """

    file: str
    offset: int
    sha256: str
    pieces: list[int]


def is_intact(place: TextPlace) -> bool:
    """Return whether the file has the bytes of the range."""
    digest = hashlib.sha256()
    try:
        with Path(place["file"]).open("rb") as file:
            file.seek(place["offset"])
            for piece in place["pieces"]:
                for chunk in _chunks(file, piece):
                    digest.update(chunk)
    except OSError:
        return False
    return digest.hexdigest() == place["sha256"]


def tables(content: TextRange, place: TextPlace, row_column: str, columns: list[str] | None) -> Iterator[pa.Table]:
    """Yield the rows of a range, one piece in memory at a time.

    Args:
        content: what the range contains.
        place: where it is.
        row_column: name of the column of row numbers, the first one.
        columns: names of the columns to return, in their order in the range; all if None.

    Raises:
        StageError: the file is missing, cannot be read, or has other bytes than when it was loaded.
    """
    digest = hashlib.sha256()
    row = content["first_row"]
    try:
        with Path(place["file"]).open("rb") as file:
            file.seek(place["offset"])
            for piece in place["pieces"]:
                data = file.read(piece)
                digest.update(data)
                read = table(data, content, row, row_column, columns)
                row += read.num_rows
                yield read
    except OSError as error:
        reason = "does not exist any more" if isinstance(error, FileNotFoundError) else f"cannot be read: {error}"
        raise StageError(f"{place['file']} was loaded and {reason}", _REMEDY) from error
    except UnusualTextError as error:
        raise _changed(place) from error
    if digest.hexdigest() != place["sha256"] or row != content["first_row"] + content["rows"]:
        raise _changed(place)


def table(data: bytes, content: TextForm, row: int, row_column: str, columns: list[str] | None) -> pa.Table:
    """Return the selected columns of a text of whole rows, preceded by the row numbers if these are selected.

    Args:
        data: UTF-8 without a byte order mark or NUL.
        content: form of the text.
        row: number of the first row.
        row_column: name of the column of row numbers.
        columns: names of the columns to return, in their order in the range; all if None.

    Raises:
        UnusualTextError: a row has another width, or a quote is open at the end.
    """
    import numpy as np
    import pyarrow as pa

    selected = [column for column in content["columns"] if columns is None or column["name"] in columns]
    positions = sorted({column["position"] for column in selected if column["position"] is not None}) or [0]
    dialect = Dialect(content["width"], content["delimiter"], content["quote"])
    missing, is_stripped = content["missing"], content["strip"]
    parsed = parser.parse(data, dialect, positions, [] if is_stripped else missing)
    made = {}
    if columns is None or row_column in columns:
        made[row_column] = pa.array(np.arange(row, row + parsed.num_rows, dtype="int64"))
    for column in selected:
        if column["position"] is None:
            made[column["name"]] = pa.repeat(pa.scalar(column["value"], pa.string()), parsed.num_rows)
        else:
            values = parsed[str(column["position"])]
            made[column["name"]] = _stripped(values, missing) if is_stripped else values
    return pa.table(made)


def _changed(place: TextPlace) -> StageError:
    last = place["offset"] + sum(place["pieces"])
    return StageError(f"{place['file']} has changed since it was loaded, in bytes {place['offset']} to {last}", _REMEDY)


def _chunks(file: IO[bytes], size: int) -> Iterator[bytes]:
    while size and (chunk := file.read(min(size, _CHUNK))):
        size -= len(chunk)
        yield chunk


def _stripped(values: pa.ChunkedArray, missing: Sequence[str]) -> pa.ChunkedArray:
    """Return texts without surrounding white space, null where they are missing then."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = pc.utf8_trim_whitespace(values)
    absent = pc.is_in(values, value_set=pa.array(missing, pa.string()))
    return pc.if_else(absent, pa.scalar(None, pa.string()), values)
