"""Cuts of delimited text into ranges that end where a row ends, if quotes are used as usual; the parser proves it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

RANGE_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class TextRange:
    """Consecutive bytes of a file, with their sha256."""

    offset: int
    data: bytes

    @property
    def sha256(self) -> str:
        """Hex digest of the bytes."""
        return hashlib.sha256(self.data).hexdigest()


def ranges(file: IO[bytes], quote: bytes, size: int = RANGE_BYTES) -> Iterator[TextRange]:
    """Yield the bytes of a file in ranges of about `size` bytes, each with an even number of quotes.

    A range ends with a line feed, except the last one. A row longer than `size` makes its range longer.
    """
    rest, offset = b"", 0
    while piece := file.read(size):
        data = rest + piece
        end = _last_row_end(data, quote)
        if end:
            yield TextRange(offset, data[:end])
        rest, offset = data[end:], offset + end
    if rest:
        yield TextRange(offset, rest)


def _last_row_end(data: bytes, quote: bytes) -> int:
    """Return the end of the last line before which the number of quotes is even; 0 if there is none."""
    end = data.rfind(b"\n") + 1
    is_quoted = data.count(quote, 0, end) % 2 == 1
    while end and is_quoted:
        opened = data.rfind(quote, 0, end)
        earlier = data.rfind(b"\n", 0, opened) + 1
        is_quoted ^= data.count(quote, earlier, end) % 2 == 1
        end = earlier
    return end
