"""Parser of a range of delimited text; it proves that the range ends where a row ends, or refuses the range.

The end marker is appended as a line. If the parser returns it as a row of its own, no quote is open at the end of the
range, whatever the quotes in it mean; so by induction from the first range all cuts of the file are right.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ai_workflow.sources.text_stream import BLOCK, END

if TYPE_CHECKING:
    import pyarrow as pa

_BLANK_LINE = re.compile(rb"(\A|[\r\n])[ \t]*(\r\n|\n|\r(?!\n))")


class UnusualTextError(ValueError):
    """The text needs the sequential reader: blank lines, a NUL, a bad byte, a wrong width, or an open quote."""


def parse(data: bytes, width: int, delimiter: str, quote: str) -> pa.Table:
    """Return the rows of a range as columns of text named `0`, `1`, ...

    Args:
        data: UTF-8 without a byte order mark that starts with a row.
        width: the number of columns, at least 2.
        delimiter: one ASCII character.
        quote: one ASCII character.

    Raises:
        UnusualTextError: only the sequential reader can read the text, or can name the error in it.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    _check_bytes(data, width)
    ends: list[int] = []

    def on_invalid_row(row: Any) -> str:
        if row.text != END:
            return "error"
        ends.append(row.number)
        return "skip"

    labels = [str(number) for number in range(width)]
    tail = (b"" if data.endswith(b"\n") else b"\n") + END.encode() + b"\n"
    try:
        reader = arrow_csv.open_csv(
            pa.BufferReader(data + tail),
            arrow_csv.ReadOptions(use_threads=False, block_size=BLOCK, column_names=labels),
            arrow_csv.ParseOptions(
                delimiter=delimiter,
                quote_char=quote,
                newlines_in_values=True,
                ignore_empty_lines=False,
                invalid_row_handler=on_invalid_row,
            ),
            arrow_csv.ConvertOptions(check_utf8=False, column_types=dict.fromkeys(labels, pa.string())),
        )
        table = reader.read_all()
    except pa.ArrowInvalid as error:
        raise UnusualTextError(str(error)) from error
    if ends != [table.num_rows + 1]:
        raise UnusualTextError("the range does not end where a row ends")
    return table


def _check_bytes(data: bytes, width: int) -> None:
    if width < 2:
        raise UnusualTextError("a blank line cannot be told from a value")
    if b"\0" in data or _has_blank_line(data):
        raise UnusualTextError("blank line or NUL")
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError as error:
            raise UnusualTextError(str(error)) from error


def _has_blank_line(data: bytes) -> bool:
    """Return whether a line is empty or blank, also within quotes; a fast search comes first."""
    starts = data.startswith((b"\n", b"\r", b" ", b"\t"))
    pairs = (b"\n\n", b"\n\r", b"\r\r", b"\n ", b"\n\t", b"\r ", b"\r\t")
    return (starts or any(pair in data for pair in pairs)) and _BLANK_LINE.search(data) is not None
