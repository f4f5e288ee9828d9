"""Small text files, each parsed at once; a file with any surprise is left to the sequential reader of its source."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

from ai_workflow.config.settings import CsvSource, FileSource
from ai_workflow.datasets.partitions import ROW
from ai_workflow.datasets.text_ranges import text_range
from ai_workflow.datasets.text_ranges.parser import Dialect, UnusualTextError
from ai_workflow.sources import csv_header, file_columns, input_files
from ai_workflow.sources.file_columns import FileColumns, Schema
from ai_workflow.sources.file_groups import MAX_FILE_BYTES
from ai_workflow.sources.text_index import header_line, indexed_partitions, text_check

if TYPE_CHECKING:
    import pyarrow as pa


class FileReader:
    """Reader of the rows of files with the columns of `schema`; several threads can use it at once."""

    def __init__(self, source: FileSource, schema: Schema) -> None:
        self._source, self._schema = source, schema
        self._names: dict[bytes, list[str]] = {}

    def tables(self, columns: FileColumns) -> Iterator[pa.Table]:
        """Yield the rows of a file, with row numbers.

        Raises:
            StageError: the file cannot be read, is malformed, or has changed since it was inspected.
        """
        source = self._source
        if (table := self._at_once(columns)) is not None:
            yield table
        else:
            yield from file_columns.read(file_columns.reader_of(source), columns, source, self._schema)

    def _at_once(self, columns: FileColumns) -> pa.Table | None:
        file, source = columns.file, self._source
        is_small = file.bytes <= MAX_FILE_BYTES and not file.member
        if not is_small or not isinstance(source, CsvSource) or not text_check.is_supported(source):
            return None
        with input_files.opened(file.path) as raw:
            data = _read(raw, file.bytes + 1)
        if hashlib.sha256(data).hexdigest() != file.sha256:
            raise file.changed()
        try:
            return self._parsed(data, columns, source)
        except UnusualTextError:
            return None

    def _parsed(self, data: bytes, columns: FileColumns, source: CsvSource) -> pa.Table:
        start = header_line.end(data, source)
        names = self._names_of(data[:start], columns, source)
        rows = data[start:]
        if not rows:
            raise UnusualTextError("no rows")
        text_check.check(rows, source.encoding)
        form = indexed_partitions.form_of(names, columns, source, self._schema)
        return text_range.table(rows, form, 1 + source.header, ROW, None)

    def _names_of(self, head: bytes, columns: FileColumns, source: CsvSource) -> list[str]:
        """Return the column names of a file, known if another file has the same header."""
        if head not in self._names:
            names = csv_header.names(columns.file, source)
            if len(names) < 2:
                raise UnusualTextError("a blank line may be a value")
            header_line.check(head, source, Dialect(len(names), source.delimiter, source.quote))
            self._names[head] = names
        return self._names[head]


def _read(file: IO[bytes], size: int) -> bytes:
    """Return the first `size` bytes of a file, fewer if it is shorter; a web server gives fewer in one call."""
    pieces: list[bytes] = []
    while size and (piece := file.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)
