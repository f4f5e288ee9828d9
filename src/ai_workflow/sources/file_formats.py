"""Formats of files by their first bytes: compressed text, and formats that are not delimited text."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any, NamedTuple

from ai_workflow.errors import StageError
from ai_workflow.sources.input_files import HashingReader, InputFile

Reader = HashingReader | IO[bytes]
_CHUNK = 1 << 20
# Enough for any signature.
_START = 1 << 16
_OTHER_FORMATS = (
    (
        re.compile(rb"PK\x03\x04.*(\[Content_Types\]|xl/)", re.DOTALL),
        "an Excel workbook",
        "Set source.kind: excel, or save the sheet as CSV",
    ),
    (
        re.compile(rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
        "an Excel workbook of the old kind",
        "Set source.kind: excel, or save the sheet as CSV",
    ),
    (re.compile(rb"PK\x03\x04"), "a zip archive in another archive", "Unpack it"),
    (re.compile(rb"PAR1"), "a Parquet file", "Set source.kind: parquet"),
    (
        re.compile(rb"7z\xbc\xaf"),
        "a 7z archive",
        "Pack it with gzip",
    ),
    (re.compile(rb"SQLite format 3\x00"), "an SQLite database", "Set source.kind: sql and url: sqlite:///<file>"),
    (re.compile(rb"%PDF-"), "a PDF document", "Give the table as CSV"),
    (
        re.compile(rb"\s*<(!doctype html|html)", re.IGNORECASE),
        "a web page",
        "Was a login page downloaded instead of the file?",
    ),
)


class _Compression(NamedTuple):
    """A compression format: its name for messages, its signature, and how a file is opened."""

    name: str
    signature: re.Pattern[bytes]
    open: Callable[[Any], Any]


class _Streams(io.RawIOBase):
    """Reader of one compressed stream or several; other bytes after a stream than zeros are an error.

    The readers of the standard library ignore such bytes, and so rows that were appended to a file.
    """

    def __init__(self, file: io.RawIOBase, decompressor: Callable[[], Any]) -> None:
        super().__init__()
        self._file, self._new = file, decompressor
        self._decompressor = decompressor()

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes; empty at the end."""
        while True:
            data = b""
            if self._decompressor.eof:
                data = self._next_stream()
                if not data:
                    return b""
                self._decompressor = self._new()
            elif self._decompressor.needs_input and not (data := self._file.read(_CHUNK) or b""):
                raise EOFError("it ends within the compressed data")
            if piece := self._decompressor.decompress(data, size):
                return bytes(piece)

    def _next_stream(self) -> bytes:
        """Return the first bytes after a stream and its padding."""
        data = self._decompressor.unused_data.lstrip(b"\0")
        while not data and (piece := self._file.read(_CHUNK)):
            data = piece.lstrip(b"\0")
        return bytes(data)


def _open_zstd(file: io.RawIOBase) -> Any:
    import pyarrow as pa

    return pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")


_COMPRESSIONS = (
    _Compression("gzip", re.compile(rb"\x1f\x8b"), lambda file: gzip.GzipFile(fileobj=file)),
    _Compression(
        "bzip2", re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"), lambda file: _Streams(file, bz2.BZ2Decompressor)
    ),
    _Compression("xz", re.compile(rb"\xfd7zXZ\x00"), lambda file: _Streams(file, lzma.LZMADecompressor)),
    _Compression("zstd", re.compile(rb"\x28\xb5\x2f\xfd"), _open_zstd),
)
_DAMAGES = (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError)


def is_compressed(start: bytes) -> bool:
    """Return whether a file that begins with `start` is compressed in a format that is read."""
    return any(each.signature.match(start) for each in _COMPRESSIONS)


def decompressed(reader: Reader, file: InputFile) -> Iterator[bytes]:
    """Yield the bytes of a text file, decompressed if it is compressed.

    Raises:
        StageError: the file has another format, or is damaged.
    """
    start = _filled(reader, _START)
    compression = next((each for each in _COMPRESSIONS if each.signature.match(start)), None)
    if compression is None:
        _refuse_other_formats(start, file)
        yield start
        while piece := reader.read(_CHUNK):
            yield piece
        return
    try:
        compressed = compression.open(_Joined(start, reader))
        start = compressed.read(_START)
        _refuse_other_formats(start, file)
        yield start
        while piece := compressed.read(_CHUNK):
            yield piece
    except (*_DAMAGES, OSError) as error:
        # The error of a disk or network has a number, that of a decoder has none.
        if not isinstance(error, _DAMAGES) and (error.errno is not None or compression.name == "gzip"):
            raise
        problem = f"{file.shown} is a damaged or cut off {compression.name} file: {error}"
        raise StageError(problem, "Copy or pack it again") from error


class _Joined(io.RawIOBase):
    """The bytes already read from a file, followed by the rest of it."""

    def __init__(self, start: bytes, rest: Reader) -> None:
        super().__init__()
        self._start, self._rest = start, rest

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        piece, self._start = self._start[:size], self._start[size:]
        return piece or self._rest.read(size)


def _filled(reader: Reader, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := reader.read(size - len(data))):
        data += piece
    return data


def _refuse_other_formats(start: bytes, file: InputFile) -> None:
    for signature, kind, remedy in _OTHER_FORMATS:
        if signature.match(start):
            raise StageError(f"{file.shown} is not delimited text: it looks like {kind}", remedy)
