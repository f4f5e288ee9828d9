"""Cuts of delimited text where rows end if quotes are used as usual; the parser proves them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from ai_workflow.datasets.text_ranges.parser import UnusualTextError

if TYPE_CHECKING:
    import numpy as np

PIECE_BYTES = 4 << 20


class Readable(Protocol):
    """An open file."""

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes, none at the end."""


def pieces(file: Readable, quote: bytes, size: int | None = None) -> Iterator[bytes]:
    """Yield the rest of a file in pieces of about `size` bytes, each with an even number of quotes.

    A piece ends with a line feed, except the last one.

    Raises:
        UnusualTextError: a row, or a quoted text, is longer than `size`.
    """
    size = size or PIECE_BYTES
    rest = b""
    while chunk := file.read(size):
        data = rest + chunk
        end = _last_row_end(data, quote)
        if end:
            yield data[:end]
        rest = data[end:]
        if len(rest) > size:
            raise UnusualTextError("a long row, or an open quote")
    if rest:
        yield rest


def row_ends(data: bytes, quote: bytes) -> np.ndarray:
    """Return the positions after the rows of a text, if quotes are used as usual."""
    import numpy as np

    text = np.frombuffer(data, dtype="uint8")
    ends = np.flatnonzero(text == ord("\n")) + 1
    if quote in data:
        quotes = np.flatnonzero(text == ord(quote))
        ends = ends[np.searchsorted(quotes, ends) % 2 == 0]
    return ends if data.endswith(b"\n") else np.append(ends, len(data))


def _last_row_end(data: bytes, quote: bytes) -> int:
    """Return the end of the last line before which the number of quotes is even; 0 if there is none."""
    end = data.rfind(b"\n") + 1
    if quote not in data:
        return end
    is_quoted = data.count(quote, 0, end) % 2 == 1
    while end and is_quoted:
        opened = data.rfind(quote, 0, end)
        earlier = data.rfind(b"\n", 0, opened) + 1
        is_quoted ^= data.count(quote, earlier, end) % 2 == 1
        end = earlier
    return end
