"""Parser of consecutive whole rows of delimited text, which proves that the text ends where a row ends.

A last line is appended. If the parser returns it as a row of its own, no quote is open at the end of the text, whatever
the quotes in it mean. So if a file is parsed in pieces and each is proved, all of its cuts are right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa

# No text has a NUL.
_END = "\0end"
# A new thread needs memory of its own.
_NO_THREAD = "Failed to launch worker thread"
# Arrow's parser ends the process if it cannot allocate. It takes less than this many times the size of the text.
_MEMORY_OF_TEXT = 8


class UnusualTextError(ValueError):
    """The text needs the sequential reader of its source, which reads it or names the error in it."""


class Dialect(NamedTuple):
    """Form of delimited text: number of columns, at least 2, delimiter and quote, each one ASCII character."""

    width: int
    delimiter: str
    quote: str


def count_rows(data: bytes, dialect: Dialect) -> int:
    """Return the number of rows of a text; only their widths are read.

    Raises:
        UnusualTextError: a row has another width, or a quote is open at the end.
        MemoryError: memory ran out within Arrow.
    """
    return parse(data, dialect, [0], [""]).num_rows  # type: ignore[no-any-return]


def parse(data: bytes, dialect: Dialect, positions: Sequence[int], missing: Sequence[str]) -> pa.Table:
    """Return columns of a text as text.

    Args:
        data: UTF-8 without a byte order mark that starts with a row and has no NUL.
        dialect: the form of the text.
        positions: the columns to return, at least one; a column is named by its position.
        missing: texts that are null.

    Raises:
        UnusualTextError: a row has another width, or a quote is open at the end.
        MemoryError: memory ran out within Arrow.
    """
    import pyarrow as pa

    ends: list[int] = []

    def on_invalid_row(row: Any) -> str:
        if row.text != _END:
            return "error"
        ends.append(row.number)
        return "skip"

    text = b"".join((data, b"" if data.endswith(b"\n") else b"\n", _END.encode(), b"\n"))
    # Not touched, so that it takes no time; raises MemoryError here instead.
    bytes(_MEMORY_OF_TEXT * len(text))
    try:
        table = _read(text, dialect, positions, missing, on_invalid_row)
    except pa.ArrowInvalid as error:
        raise UnusualTextError(str(error)) from error
    except pa.ArrowException as error:
        if isinstance(error, MemoryError) or _NO_THREAD in str(error):
            raise MemoryError(str(error)) from error
        raise
    if ends != [table.num_rows + 1]:
        raise UnusualTextError("the text does not end where a row ends")
    return table


def _read(
    text: bytes,
    dialect: Dialect,
    positions: Sequence[int],
    missing: Sequence[str],
    on_invalid_row: Callable[[Any], str],
) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    names = [str(position) for position in range(dialect.width)]
    return arrow_csv.read_csv(
        pa.BufferReader(text),
        # One block: the parser would read CR LF as two line ends if a block ended between them.
        arrow_csv.ReadOptions(use_threads=False, block_size=len(text), column_names=names),
        arrow_csv.ParseOptions(
            delimiter=dialect.delimiter,
            quote_char=dialect.quote,
            newlines_in_values=True,
            ignore_empty_lines=False,
            invalid_row_handler=on_invalid_row,
        ),
        arrow_csv.ConvertOptions(
            check_utf8=False,
            column_types=dict.fromkeys(names, pa.string()),
            include_columns=[str(position) for position in positions],
            null_values=list(missing),
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
        ),
    )
