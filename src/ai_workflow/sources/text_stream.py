"""Delimited text as a stream of UTF-8 blocks for the parser of Arrow: decompressed, decoded, checked to be text.

Three markers start with a NUL, which accepted text never has. A blank line becomes a line with one NUL, because the
parser does not distinguish it from a row of empty values. A byte outside of the encoding becomes a NUL and its two hex
digits, so that the error can name row and column. A last line is added, because the parser accepts the end of the file
as the end of a quoted value: if a value contains that line, its quote was not closed.
"""

from __future__ import annotations

import bz2
import codecs
import contextlib
import gzip
import io
import itertools
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ai_workflow.config.settings import CsvSource
from ai_workflow.errors import StageError
from ai_workflow.sources import input_files
from ai_workflow.sources.input_files import HashingReader, InputFile
from ai_workflow.sources.line_filter import LineFilter

# The longest row: the parser needs whole rows in a block.
BLOCK = 8 << 20
_CHUNK = 1 << 20
# Enough for any signature, and for any header.
_START, _HEAD = 1 << 16, 1 << 20
BLANK = "\0"
END = "\0end"
_BLANK_LINE = re.compile(rb"(?<=\n)(?=\r?\n|\r)|(?<=\r)(?=\r)")
BAD_BYTE = re.compile("\0([0-9a-f]{2})")
_ESCAPED = re.compile("[\udc80-\udcff]")
_BOM = "\ufeff"
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_OTHER_FORMATS = (
    (re.compile(rb"PK\x03\x04.*(\[Content_Types\]|xl/)", re.DOTALL), "an Excel workbook", "Save the sheet as CSV"),
    (re.compile(rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), "an Excel workbook of the old kind", "Save the sheet as CSV"),
    (re.compile(rb"PK\x03\x04"), "a zip archive", "Unpack it, or pack it with gzip"),
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


def _open_zstd(file: io.RawIOBase) -> Any:
    import pyarrow as pa

    return pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")


_COMPRESSIONS = (
    _Compression("gzip", re.compile(rb"\x1f\x8b"), lambda file: gzip.GzipFile(fileobj=file)),
    _Compression("bzip2", re.compile(rb"BZh[1-9]1AY&SY"), bz2.BZ2File),
    _Compression("xz", re.compile(rb"\xfd7zXZ\x00"), lzma.LZMAFile),
    _Compression("zstd", re.compile(rb"\x28\xb5\x2f\xfd"), _open_zstd),
)
_DAMAGES = (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError)


class MarkedStream(io.RawIOBase):
    """A readable stream of pieces; no block ends within CR LF, which the parser would read as two line ends."""

    def __init__(self, pieces: Iterator[bytes], end: str | None = None) -> None:
        super().__init__()
        self._pieces = pieces if end is None else self._marked(pieces, end)
        self._rest = bytearray()
        # Whether a value may contain a marker: blank lines within quotes are marked, too.
        self.has_blank_lines = False
        self.has_bad_bytes = False

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, fewer only at the end or before a line feed."""
        while size < 0 or len(self._rest) <= size:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._rest += piece
        size = len(self._rest) if size < 0 else size
        if 1 < size < len(self._rest) and self._rest[size - 1] == ord("\r"):
            size -= 1
        block = bytes(self._rest[:size])
        del self._rest[:size]
        return block

    def _marked(self, pieces: Iterator[bytes], end: str) -> Iterator[bytes]:
        last = b"\n"
        for piece in pieces:
            self.has_bad_bytes = self.has_bad_bytes or b"\0" in piece
            # A piece may start between CR and LF or with a blank line, which the preceding byte shows.
            text = last + piece
            if b"\n\n" in text or b"\r\r" in text or b"\n\r" in text:
                text = _BLANK_LINE.sub(BLANK.encode(), text)
                self.has_blank_lines = True
            yield text[1:]
            last = piece[-1:] or last
        yield (b"" if last in b"\r\n" else b"\n") + end.encode() + b"\n"


@contextlib.contextmanager
def open_text(file: InputFile, source: CsvSource, end: str) -> Iterator[MarkedStream]:
    """Open a text file as marked UTF-8 with `end` as the last line; at the end, check that the file is unchanged.

    Raises:
        StageError: the file is not text, not in its encoding, a damaged compressed file, or has changed.
    """
    with input_files.opened(file.path) as raw:
        reader = HashingReader(raw)
        text = _decoded(_decompressed(reader, file), source.encoding, file)
        lines = LineFilter(source)
        yield MarkedStream(lines(text) if lines.is_needed else text, end)
        while reader.read(_CHUNK):
            pass
    if reader.sha256 != file.sha256:
        raise file.changed()


def head(file: InputFile, encoding: str) -> str:
    """Return the beginning of the text of a file; bytes that are not in `encoding` are marked.

    Raises:
        StageError: the file is not text or has another format, or the encoding is unknown.
    """
    with input_files.opened(file.path) as raw:
        stream = MarkedStream(_decoded(_decompressed(HashingReader(raw), file), encoding, file))
        return stream.read(_HEAD).decode(errors="replace")


def decoder(encoding: str) -> codecs.IncrementalDecoder:
    """Return the decoder of an encoding.

    Raises:
        StageError: the encoding is unknown, or is not a text encoding.
    """
    try:
        info = codecs.lookup(encoding)
        if not info._is_text_encoding or info.incrementaldecoder is None:
            raise LookupError
    except (LookupError, ValueError) as error:
        raise StageError(
            f"unknown encoding '{encoding}'", "Set source.encoding to utf-8, latin-1, cp1252, utf-16, shift_jis, …"
        ) from error
    return info.incrementaldecoder("surrogateescape")


def _decompressed(reader: HashingReader, file: InputFile) -> Iterator[bytes]:
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

    def __init__(self, start: bytes, rest: HashingReader) -> None:
        super().__init__()
        self._start, self._rest = start, rest

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        piece, self._start = self._start[:size], self._start[size:]
        return piece or self._rest.read(size)


def _filled(reader: HashingReader, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := reader.read(size - len(data))):
        data += piece
    return data


def _refuse_other_formats(start: bytes, file: InputFile) -> None:
    for signature, kind, remedy in _OTHER_FORMATS:
        if signature.match(start):
            raise StageError(f"{file.shown} is not delimited text: it looks like {kind}", remedy)


def _decoded(pieces: Iterator[bytes], encoding: str, file: InputFile) -> Iterator[bytes]:
    """Yield UTF-8 without a byte order mark; bytes outside of the encoding are marked."""
    decode = decoder(encoding)
    is_utf8 = codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")
    has_started, characters = False, 0
    for piece in itertools.chain(pieces, [b""]):
        if is_utf8 and not has_started and piece.startswith(_UTF16):
            raise StageError(f"{file.shown} is not UTF-8: it starts like UTF-16", "Set source.encoding: utf-16")
        try:
            text = decode.decode(piece, final=not piece)
            text = text if has_started else text.removeprefix(_BOM)
            if (position := text.find("\0")) >= 0:
                raise _not_text(file, characters + position)
            yield _encoded(text)
        except UnicodeError as error:
            raise StageError(f"{file.shown} is not {encoding}: {error}", "Correct source.encoding") from error
        has_started = has_started or bool(text)
        characters += len(text)


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return _ESCAPED.sub(lambda match: f"\0{ord(match[0]) - 0xDC00:02x}", text).encode()


def _not_text(file: InputFile, position: int) -> StageError:
    return StageError(
        f"{file.shown} is not text: character {position + 1} is a NUL",
        "Give delimited text; if it is text in UTF-16 or UTF-32, set source.encoding",
    )
