"""Header of delimited text: column names, and checks that the file matches the source options."""

from __future__ import annotations

import csv

from ai_workflow.config.settings import CsvSource
from ai_workflow.datasets import source_columns
from ai_workflow.errors import StageError
from ai_workflow.sources import csv_dialect, text_stream
from ai_workflow.sources.csv_dialect import Row
from ai_workflow.sources.input_files import InputFile

_DELIMITERS = {";": '";"', "\t": '"\\t"', "|": '"|"', ",": '","'}
# Rows whose number of values is compared with that of the header.
_CHECKED_ROWS = 6


def names(file: InputFile, source: CsvSource) -> list[str]:
    """Return the column names of a file: from its header, from `source.columns`, or `column_0`, `column_1`, ...

    Raises:
        StageError: the file is not text, or its first row does not match `source`.
    """
    _check_dialect(source)
    text = text_stream.head(file, source.encoding)
    rows = _first_rows(text, file, source)
    first = rows[0].values
    if source.header:
        columns = source_columns.with_index_name([name.strip() for name in first])
    else:
        columns = list(source.columns) or [f"column_{number}" for number in range(len(first))]
    if _is_doubtful(columns, rows, source) and (guess := csv_dialect.guess(text, source, len(first))):
        raise StageError(f"{file.shown} {guess.problem}", guess.remedy)
    if source.header:
        columns = source_columns.with_index_name(source_columns.with_names_at_end([name.strip() for name in first]))
        _check_header(columns, file, source)
    else:
        _check_declared_names(first, file, source)
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
    for option, value in (("delimiter", source.separator), ("quote", source.quote)):
        if not value.isascii() or value in "\r\n\0":
            raise StageError(f"source.{option} {value!r} cannot be used", "Give one ASCII character, not a line end")
    if source.separator == source.quote:
        raise StageError("source.delimiter and source.quote are the same", "Give two different characters")
    text_stream.decoder(source.encoding)


def _first_rows(text: str, file: InputFile, source: CsvSource) -> list[Row]:
    """Return the first row, which has the names, and some of the next ones."""
    rows: list[Row] = []
    try:
        for row, _ in zip(csv_dialect.rows_of(text, source), range(_CHECKED_ROWS), strict=False):
            rows.append(row)
    except csv.Error as error:
        if not rows:
            raise StageError(
                f"{file.shown}, first row: {error}", "Fix the row, or set source.delimiter and source.quote"
            ) from error
    if not rows:
        raise _no_rows(text, file, source)
    for column, value in enumerate(rows[0].values, 1):
        check_bytes(value, source, file, rows[0].line, f"column {column}")
    return rows


def _no_rows(text: str, file: InputFile, source: CsvSource) -> StageError:
    if text.strip():
        return StageError(
            f"{file.shown} has no line that is a row: each is blank, skipped or a comment",
            "Correct source.skip_rows and source.comment, or take the file out",
        )
    return StageError(f"{file.shown} holds only blank lines", "Give a file with rows, or take it out")


def _is_doubtful(columns: list[str], rows: list[Row], source: CsvSource) -> bool:
    """Return whether the first row does not look like that of a table with these columns."""
    widths = {len(row.values) for row in rows}
    if (len(columns) == 1 and len(source.columns) != 1) or widths != {len(columns)}:
        return True
    if source.header and any(name.startswith(source.quote) for name in columns):
        return True
    return source.header and ("" in columns[1:] or _looks_like_data(columns, source))


def _check_declared_names(first: list[str], file: InputFile, source: CsvSource) -> None:
    """Check the first row of a file without a header line."""
    if len(first) == 1 and len(source.columns) != 1:
        _check_delimiter(first[0], file, source)
    if source.columns and len(source.columns) != len(first):
        raise StageError(
            f"{file.shown}: source.columns names {len(source.columns)} columns, the first row has {len(first)}",
            "Name each column, in the order of the file",
        )


def _check_header(names: list[str], file: InputFile, source: CsvSource) -> None:
    if len(names) == 1:
        _check_delimiter(names[0], file, source)
    if _looks_like_data(names, source):
        shown = source.separator.join(names[:5]) + ("…" if len(names) > 5 else "")
        raise StageError(
            f"{file.shown}: the header line looks like data: {shown}",
            "Set source.header: false, and name the `columns`",
        )


def _looks_like_data(names: list[str], source: CsvSource) -> bool:
    counted = [[str(number) for number in range(start, start + len(names))] for start in (0, 1)]
    data = [name for name in names if name and name not in source.missing]
    # pandas writes 0,1,2,3 as the header of columns without names.
    is_counted = len(names) > 2 and names in counted
    return bool(data) and not is_counted and all(csv_dialect.NUMBER.fullmatch(name) for name in data)


def _check_delimiter(line: str, file: InputFile, source: CsvSource) -> None:
    others = [shown for mark, shown in _DELIMITERS.items() if mark in line and mark != source.delimiter]
    if others:
        raise StageError(
            f"{file.shown} has only one column with the delimiter '{source.delimiter}'",
            f"Set source.delimiter: {others[0]}",
        )
