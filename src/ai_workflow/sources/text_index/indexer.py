"""Index of a file: ranges of `partition_rows` rows, each hashed, parsed once, and remembered.

A record for each range, under a key of the ranges before it, keeps what is known. A file that has grown, or whose load
was killed, is hashed up to the end of what is known and parsed from there on.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, TypedDict

from ai_workflow.config.settings import CsvSource
from ai_workflow.datasets import fingerprint
from ai_workflow.datasets.partitions import FOLDER
from ai_workflow.datasets.text_ranges import parser
from ai_workflow.datasets.text_ranges.parser import Dialect, UnusualTextError
from ai_workflow.errors import StoreError
from ai_workflow.runtime import cancellation, partition_threads
from ai_workflow.sources import input_files
from ai_workflow.sources.input_files import InputFile
from ai_workflow.sources.partitioner import STAGE
from ai_workflow.sources.text_index import cuts, header_line, text_check
from ai_workflow.storage.store import Store

if TYPE_CHECKING:
    from hashlib import _Hash

# A file that has grown is known by its beginning.
_BEGINNING_BYTES = 1 << 16


class IndexedRange(TypedDict):
    """A range of rows: offset, digest, first row number, number of rows, and lengths of its pieces in bytes."""

    offset: int
    sha256: str
    first_row: int
    rows: int
    pieces: list[int]
    ends_with_line: bool


@dataclass
class _OpenRange:
    """A range that may get more rows."""

    offset: int
    first_row: int
    rows: int = 0
    pieces: list[int] = field(default_factory=list)
    digest: _Hash = field(default_factory=hashlib.sha256)
    ends_with_line: bool = True

    def add(self, data: bytes, rows: int) -> None:
        """Add whole rows; small pieces become one, because each is parsed on its own."""
        self.digest.update(data)
        if self.pieces and self.pieces[-1] + len(data) <= cuts.PIECE_BYTES:
            self.pieces[-1] += len(data)
        else:
            self.pieces.append(len(data))
        self.rows += rows
        self.ends_with_line = data.endswith(b"\n")

    def close(self) -> IndexedRange:
        return {
            "offset": self.offset,
            "sha256": self.digest.hexdigest(),
            "first_row": self.first_row,
            "rows": self.rows,
            "pieces": self.pieces,
            "ends_with_line": self.ends_with_line,
        }

    def next(self) -> _OpenRange:
        return _OpenRange(self.offset + sum(self.pieces), self.first_row + self.rows)


class _File:
    """A file that is hashed as a whole; it can return to an earlier state."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.digest, self.offset = file, hashlib.sha256(), 0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.digest.update(data)
        self.offset += len(data)
        return data

    def state(self) -> tuple[_Hash, int]:
        return self.digest.copy(), self.offset

    def restore(self, state: tuple[_Hash, int]) -> None:
        self.digest, self.offset = state
        self._file.seek(self.offset)


class _Records:
    """Records of the ranges of files with the same beginning, each under a key of the ranges before it."""

    def __init__(self, store: Store, key: str) -> None:
        self._store, self._key = store, key

    def known(self) -> IndexedRange | None:
        """Return the next range of the file that was read last."""
        try:
            body: IndexedRange = self._store.read_record(self._path)
        except StoreError:
            return None
        return body

    def save(self, indexed: IndexedRange) -> None:
        """Record the next range."""
        self._store.write_record(self._path, indexed)

    def advance(self, indexed: IndexedRange) -> None:
        """Continue behind a range."""
        self._key = fingerprint.of(self._key, indexed["sha256"])

    @property
    def _path(self) -> str:
        return f"{FOLDER}/{STAGE}/{self._key}.ranges.json"


def ranges(store: Store, file: InputFile, source: CsvSource, dialect: Dialect) -> list[IndexedRange]:
    """Return the rows of a local file as consecutive ranges of `source.partition_rows` rows, the last may be smaller.

    Raises:
        UnusualTextError: the file needs the sequential reader.
        StageError: the file cannot be read, or has changed since it was inspected.
        MemoryError: memory ran out.
    """
    with input_files.opened(file.path) as raw:
        head = raw.read(header_line.HEAD_BYTES)
        start = header_line.end(head, source)
        header_line.check(head[:start], source, dialect)
        raw.seek(0)
        text = _File(raw)
        text.read(start)
        of_source = source.model_dump(mode="json", include={"header", "partition_rows", "encoding"})
        key = fingerprint.of(
            "ranges",
            fingerprint.code_version(__name__),
            of_source,
            list(dialect),
            hashlib.sha256(head[:_BEGINNING_BYTES]).hexdigest(),
        )
        found = list(_ranges(text, _Records(store, key), _OpenRange(start, 1 + source.header), source, dialect))
    if text.digest.hexdigest() != file.sha256:
        raise file.changed()
    return found


def _ranges(
    text: _File, records: _Records, current: _OpenRange, source: CsvSource, dialect: Dialect
) -> Iterator[IndexedRange]:
    size, quote = source.partition_rows, dialect.quote.encode()
    while (known := records.known()) and (matched := _matched(text, known, current)):
        if known["rows"] < size:
            current = matched
            break
        yield known
        records.advance(known)
        current = matched.next()
    with contextlib.closing(_counted(cuts.pieces(text, quote), source, dialect)) as counted:
        for piece, piece_rows in counted:
            for data, rows in _split(piece, piece_rows, size, current.rows, dialect):
                current.add(data, rows)
                if current.rows == size:
                    yield _saved(records, current)
                    current = current.next()
    if current.rows:
        yield _saved(records, current)


def _counted(pieces: Iterator[bytes], source: CsvSource, dialect: Dialect) -> Generator[tuple[bytes, int], None, None]:
    """Yield pieces of text with their numbers of rows; several threads check and count."""

    def count_rows(piece: bytes) -> int:
        cancellation.check()
        text_check.check(piece, source.encoding)
        return parser.count_rows(piece, dialect)

    with contextlib.closing(partition_threads.stream_map(count_rows, pieces)) as counted:
        yield from counted


def _saved(records: _Records, current: _OpenRange) -> IndexedRange:
    closed = current.close()
    records.save(closed)
    records.advance(closed)
    return closed


def _matched(text: _File, known: IndexedRange, current: _OpenRange) -> _OpenRange | None:
    """Return the range in a known state if the file has its bytes next; else leave the file where it is."""
    before = text.state()
    matched = _OpenRange(current.offset, current.first_row, known["rows"], list(known["pieces"]))
    for piece in known["pieces"]:
        matched.digest.update(text.read(piece))
    # A last row without a line end may continue now.
    if matched.digest.hexdigest() == known["sha256"] and known["ends_with_line"]:
        return matched
    text.restore(before)
    return None


def _split(piece: bytes, rows: int, size: int, pending: int, dialect: Dialect) -> Iterator[tuple[bytes, int]]:
    """Yield a piece in parts with their numbers of rows, cut where `size` rows are reached with those that are pending.

    Raises:
        UnusualTextError: a cut is not where a row ends.
    """
    if pending + rows <= size:
        yield piece, rows
        return
    ends = cuts.row_ends(piece, dialect.quote.encode())
    if len(ends) != rows:
        raise UnusualTextError("quotes are used in an unusual way")
    first, start = 0, 0
    while first < rows:
        count = min(size - pending, rows - first)
        end = int(ends[first + count - 1])
        data = piece[start:end]
        if parser.count_rows(data, dialect) != count:
            raise UnusualTextError("quotes are used in an unusual way")
        yield data, count
        first, start, pending = first + count, end, 0
