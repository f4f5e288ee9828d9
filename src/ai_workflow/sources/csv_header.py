"""Header of delimited text: column names, and checks that the file matches the source options."""

from __future__ import annotations

import csv
import io
import re

from ai_workflow.config.settings import CsvSource
from ai_workflow.datasets import source_columns
from ai_workflow.errors import StageError
from ai_workflow.sources import text_stream
from ai_workflow.sources.input_files import InputFile

_DELIMITERS = {";": '";"', "\t": '"\\t"', "|": '"|"', ",": '","'}
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")


def names(file: InputFile, source: CsvSource) -> list[str]:
    """Return the column names of a file: from its header, from `source.columns`, or `column_0`, `column_1`, ...

    Raises:
        StageError: the file is not text, or its first row does not match `source`.
    """
    _check_dialect(source)
    first = _first_row(file, source)
    if source.header:
        columns = [name.strip() for name in first]
        _check_header(columns, file, source)
    else:
        columns = _declared_names(first, file, source)
    kept = [name for name in columns if name not in source.drop]
    source_columns.check_names(kept, f"{file.shown}, header" if source.header else "source.columns")
    return columns


def check_bytes(value: str, source: CsvSource, file: InputFile, row: int, column: str) -> None:
    """Check that no byte of a value is outside of the encoding.

    Raises:
        StageError: a byte is; the message names row, column and byte.
    """
    if match := text_stream.BAD_BYTE.search(value):
        raise StageError(
            f"{file.shown}, row {row}, {column}: byte 0x{match[1].upper()} is not {source.encoding}",
            "Set source.encoding to what the file is written in, for example cp1252 or latin-1",
        )


def _check_dialect(source: CsvSource) -> None:
    for option, value in (("delimiter", source.delimiter), ("quote", source.quote)):
        if not value.isascii() or value in "\r\n\0":
            raise StageError(f"source.{option} {value!r} cannot be used", "Give one ASCII character, not a line end")
    if source.delimiter == source.quote:
        raise StageError("source.delimiter and source.quote are the same", "Give two different characters")
    text_stream.decoder(source.encoding)


def _first_row(file: InputFile, source: CsvSource) -> list[str]:
    start = io.StringIO(text_stream.head(file, source.encoding), newline="")
    rows = enumerate(csv.reader(start, delimiter=source.delimiter, quotechar=source.quote), 1)
    try:
        number, first = next((number, row) for number, row in rows if len(row) > 1 or "".join(row).strip(" \t"))
    except StopIteration:
        raise StageError(f"{file.shown} holds only blank lines", "Give a file with rows, or take it out") from None
    except csv.Error as error:
        raise StageError(
            f"{file.shown}, first row: {error}", "Fix the row, or set source.delimiter and source.quote"
        ) from error
    for column, value in enumerate(first, 1):
        check_bytes(value, source, file, number, f"column {column}")
    return first


def _declared_names(first: list[str], file: InputFile, source: CsvSource) -> list[str]:
    """Return the column names of a file without a header line."""
    if len(first) == 1 and len(source.columns) != 1:
        _check_delimiter(first[0], file, source)
    if not source.columns:
        return [f"column_{number}" for number in range(len(first))]
    if len(source.columns) != len(first):
        raise StageError(
            f"{file.shown}: source.columns names {len(source.columns)} columns, the first row has {len(first)}",
            "Name each column, in the order of the file",
        )
    return list(source.columns)


def _check_header(names: list[str], file: InputFile, source: CsvSource) -> None:
    if len(names) == 1:
        _check_delimiter(names[0], file, source)
    counted = [[str(number) for number in range(start, start + len(names))] for start in (0, 1)]
    data = [name for name in names if name and name not in source.missing]
    # pandas writes 0,1,2,3 as the header of columns without names.
    if data and all(_NUMBER.fullmatch(name) for name in data) and not (len(names) > 2 and names in counted):
        shown = source.delimiter.join(names[:5]) + ("…" if len(names) > 5 else "")
        raise StageError(
            f"{file.shown}: the header line looks like data: {shown}",
            "Set source.header: false, and name the `columns`",
        )


def _check_delimiter(line: str, file: InputFile, source: CsvSource) -> None:
    others = [shown for mark, shown in _DELIMITERS.items() if mark in line and mark != source.delimiter]
    if others:
        raise StageError(
            f"{file.shown} has only one column with the delimiter '{source.delimiter}'",
            f"Set source.delimiter: {others[0]}",
        )
