"""Delimited text as a stream of UTF-8 blocks for the parser of Arrow: decompressed, decoded, checked to be text.

Three markers start with a NUL, which accepted text never has. A blank line becomes a line with one NUL, because the
parser does not distinguish it from a row of empty values. A byte outside of the encoding becomes a NUL and its two hex
digits, so that the error can name row and column. A last line is added, because the parser accepts the end of the file
as the end of a quoted value: if a value contains that line, its quote was not closed.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import itertools
import re
import threading
from collections.abc import Iterator

from ai_workflow.config.settings import CsvSource
from ai_workflow.errors import StageError
from ai_workflow.sources import file_formats, zip_archive
from ai_workflow.sources.input_files import HashingReader, InputFile
from ai_workflow.sources.line_filter import LineFilter

# The longest row: the parser needs whole rows in a block.
BLOCK = 8 << 20
_CHUNK = 1 << 20
# Blocks that a thread of the parser reads ahead of their rows; by itself it would read 32.
_AHEAD = 3
# The thread waits so long for the rows of a block: a block without rows must not stop it forever.
_MAX_WAIT = 1.0
# Enough for any header.
_HEAD = 1 << 20
BLANK = "\0"
END = "\0end"
_BLANK_LINE = re.compile(rb"(?<=\n)(?=\r?\n|\r)|(?<=\r)(?=\r)")
BAD_BYTE = re.compile("\0([0-9a-f]{2})")
_ESCAPED = re.compile("[\udc80-\udcff]")
_BOM = "\ufeff"
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class MarkedStream(io.RawIOBase):
    """A readable stream of pieces; no block ends within CR LF, which the parser would read as two line ends."""

    def __init__(self, pieces: Iterator[bytes], end: str | None = None) -> None:
        super().__init__()
        self._pieces = pieces if end is None else self._marked(pieces, end)
        self._rest = b""
        self._ahead = threading.Semaphore(_AHEAD)
        self._is_stopped = False
        # Whether a value may contain a marker: blank lines within quotes are marked, too.
        self.has_blank_lines = False
        self.has_bad_bytes = False

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, fewer only at the end or before a line feed; wait if it is too far ahead."""
        self._ahead.acquire(timeout=_MAX_WAIT)
        if self._is_stopped:
            return b""
        pieces, length = [self._rest], len(self._rest)
        while size < 0 or length <= size:
            piece = next(self._pieces, None)
            if piece is None:
                break
            pieces.append(piece)
            length += len(piece)
        text = b"".join(pieces)
        size = length if size < 0 else size
        if 1 < size < length and text[size - 1] == ord("\r"):
            size -= 1
        self._rest = text[size:]
        return text[:size]

    def done(self) -> None:
        """Let the reader go on: the rows of a block have been taken."""
        self._ahead.release()

    def stop(self) -> None:
        """End the stream for a reader that is still ahead, so that it frees its blocks."""
        self._is_stopped = True
        self._ahead.release()

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
    lines = LineFilter(source)
    with open_pieces(file, source.encoding) as text:
        yield MarkedStream(lines(text) if lines.is_needed else text, end)


@contextlib.contextmanager
def open_pieces(file: InputFile, encoding: str) -> Iterator[Iterator[bytes]]:
    """Open a text file as pieces of UTF-8 with marked bad bytes; at the end, check that the file is unchanged.

    Raises:
        StageError: the file is not text, not in its encoding, a damaged compressed file, or has changed.
    """
    with zip_archive.opened(file) as raw:
        reader = HashingReader(raw)
        yield _decoded(file_formats.decompressed(reader, file), encoding, file)
        while reader.read(_CHUNK):
            pass
    if reader.sha256 != file.sha256:
        raise file.changed()


def head(file: InputFile, encoding: str) -> str:
    """Return the beginning of the text of a file; bytes that are not in `encoding` are marked.

    Raises:
        StageError: the file is not text or has another format, or the encoding is unknown.
    """
    with zip_archive.opened(file) as raw:
        stream = MarkedStream(_decoded(file_formats.decompressed(raw, file), encoding, file))
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
