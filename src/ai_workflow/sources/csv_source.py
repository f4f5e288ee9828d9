"""Delimited text as tables of unconverted text with exact row numbers; the preprocessor converts the values."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ai_workflow.config.settings import CsvSource
from ai_workflow.datasets import source_columns
from ai_workflow.datasets.source_columns import DetectedKind, MissingRules
from ai_workflow.errors import StageError
from ai_workflow.sources import csv_dialect, csv_header, text_stream, zip_archive
from ai_workflow.sources.input_files import InputFile
from ai_workflow.sources.text_stream import BLANK, END, MarkedStream

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

SUFFIXES = (".csv", ".tsv", ".tab", ".txt", ".data", ".dat", ".zip")
ARCHIVE_MEMBERS = zip_archive.members

# A new thread needs memory of its own.
_NO_THREAD = "Failed to launch worker thread"


def schema(file: InputFile, source: CsvSource) -> list[tuple[str, DetectedKind]]:
    """Return the column names of a file, each with the kind `string`.

    Raises:
        StageError: the file is not text, or its first row does not match `source`.
    """
    return [(name, "string") for name in csv_header.names(file, source) if name not in source.drop]


def read(file: InputFile, source: CsvSource, columns: list[tuple[str, DetectedKind]]) -> Iterator[pa.Table]:
    """Yield the rows, one block at a time, with the columns in the order of `columns`.

    Raises:
        StageError: a row has too many or too few values, a quote is not closed, a value is not in the encoding, or the
            file is truncated or changed.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    own = csv_header.names(file, source)
    end = END if len(own) > 1 else f"{END}{source.separator}{END}"
    rows = _Rows(file, source, len(own), end)
    labels = [str(number) for number in range(len(own))]
    with text_stream.open_text(file, source, end) as stream:
        try:
            reader = arrow_csv.open_csv(
                stream,
                # Arrow counts the rows for the invalid row handler only without threads.
                arrow_csv.ReadOptions(use_threads=False, block_size=text_stream.BLOCK, column_names=labels),
                arrow_csv.ParseOptions(
                    delimiter=source.separator,
                    quote_char=source.quote,
                    newlines_in_values=True,
                    ignore_empty_lines=False,
                    invalid_row_handler=rows.on_invalid_row,
                ),
                arrow_csv.ConvertOptions(check_utf8=False, column_types=dict.fromkeys(labels, pa.string())),
            )
            for batch in reader:
                stream.done()
                yield rows.table(batch, own, [name for name, _ in columns], stream)
        except pa.ArrowInvalid as error:
            raise rows.error(str(error)) from error
        except pa.ArrowException as error:
            if _NO_THREAD in str(error):
                raise MemoryError(str(error)) from error
            raise
        finally:
            stream.stop()
        rows.check_end()


class _Rows:
    """Rows of a file, numbered as in a spreadsheet; reports invalid rows."""

    def __init__(self, file: InputFile, source: CsvSource, width: int, end: str) -> None:
        self._file, self._source, self._width, self._end = file, source, width, end
        self._ended = False
        self._invalid: Any = None
        self._skipped: deque[int] = deque()
        self._next = 1
        self._header_due = source.header

    def on_invalid_row(self, row: Any) -> str:
        """Return `skip` for a blank line or the end marker, `error` for another row with a wrong number of values."""
        if row.text == self._end:
            self._ended = True
            return "skip"
        if row.actual_columns == 1 and not row.text.strip(f"{BLANK} \t"):
            self._skipped.append(row.number)
            return "skip"
        self._invalid = self._invalid or row
        return "error"

    def table(self, batch: pa.RecordBatch, own: list[str], columns: list[str], stream: MarkedStream) -> pa.Table:
        """Return the rows of a block as text with row numbers, without header and blank lines."""
        import pyarrow as pa
        import pyarrow.compute as pc

        numbers = pa.array(self._numbers(batch.num_rows))
        if stream.has_bad_bytes:
            self._check_bytes(batch, own, numbers)
        if self._width == 1 and stream.has_blank_lines:
            kept = pc.not_equal(batch.column(0), BLANK)
            batch, numbers = batch.filter(kept), numbers.filter(kept)
        if self._header_due and batch.num_rows:
            batch, numbers, self._header_due = batch.slice(1), numbers.slice(1), False
        missing = MissingRules(self._source.missing, self._source.strip)
        normalized = {}
        for name in columns:
            values = batch.column(own.index(name))
            values = pc.replace_substring(values, BLANK, "") if stream.has_blank_lines else values
            normalized[name] = source_columns.normalize(values, "string", missing)
        return source_columns.with_row_numbers(normalized, numbers)

    def _check_bytes(self, batch: pa.RecordBatch, own: list[str], numbers: pa.Array) -> None:
        for row, number in zip(batch.to_pylist(), numbers.to_pylist(), strict=True):
            for name, value in zip(own, row.values(), strict=True):
                csv_header.check_bytes(value, self._source, self._file, number, f"column '{name}'")

    def check_end(self) -> None:
        """Raise StageError if the last row contains the end marker, because its quote is not closed."""
        if not self._ended:
            raise self._open_quote(self._next - 1)

    def error(self, message: str) -> StageError:
        """Return the error of the row at which the parser stopped."""
        if self._invalid is None:
            if "straddling" in message:
                size = text_stream.BLOCK >> 20
                return StageError(
                    f"{self._file.shown}: a row after row {self._next - 1} is longer than {size} MiB",
                    f"Close the quote {self._source.quote} that is left open there, or set source.quote",
                )
            return StageError(
                f"{self._file.shown} cannot be parsed: {message}", "Fix the file, or the options of the source"
            )
        row = self._invalid
        csv_header.check_bytes(row.text, self._source, self._file, row.number, "which has too few or too many columns")
        if row.text.endswith(self._end):
            return self._open_quote(row.number)
        lines = row.text.count("\n") + 1
        spans = f" It spans {lines} lines: is a quote missing?" if lines > 1 else ""
        if mark := self._source.comment is None and csv_dialect.comment_of(row.text):
            return StageError(
                f"{self._file.shown}, row {row.number}: {self._width} columns expected, {row.actual_columns} found; "
                f"the line begins with '{mark}'",
                f'If such lines are comments, set source.comment: "{mark}"',
            )
        return StageError(
            f"{self._file.shown}, row {row.number}: {self._width} columns expected, {row.actual_columns} found",
            f"Fix the row, or set source.delimiter and source.quote.{spans}",
        )

    def _open_quote(self, row: int) -> StageError:
        return StageError(
            f"{self._file.shown}, row {row}: a quote {self._source.quote} is opened and never closed",
            "Close it, or set source.quote to a character that the file does not use",
        )

    def _numbers(self, count: int) -> np.ndarray:
        """Return the numbers of the next `count` rows, without skipped rows."""
        import numpy as np

        stop, gaps = self._next + count, []
        while self._skipped and self._skipped[0] < stop:
            gaps.append(self._skipped.popleft() - self._next)
            stop += 1
        numbers = np.delete(np.arange(self._next, stop, dtype="int64"), gaps)
        self._next = stop
        return numbers
