"""Lines of delimited text that are not rows, and values separated by blanks.

The parser knows neither. A line that is left out becomes a blank line, so that the other rows keep their numbers, and a
run of blanks becomes one tab. Text in quotes, which may contain line ends, stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from ai_workflow.config.settings import CsvSource
from ai_workflow.config.settings.source import WHITESPACE

# The parser rejects longer lines.
_MAX_LINE_BYTES = 8 << 20


class LineFilter:
    """Filter of UTF-8 text by `skip_rows`, `comment` and `delimiter: whitespace` of a source, for one file."""

    def __init__(self, source: CsvSource) -> None:
        self._skipped_lines = source.skip_rows
        self._comment = (source.comment or "").encode()
        self._is_spaced = source.delimiter == WHITESPACE
        self._blanks = b" \t" if self._is_spaced else b" "
        self._quote = source.quote.encode()
        quote, blanks = re.escape(source.quote), re.escape(self._blanks.decode())
        self._comments = re.compile(rf"(?:\A|(?<=[\r\n]))[{blanks}]*{re.escape(source.comment or '')}[^\r\n]*".encode())
        stop = r" \t" if self._is_spaced else re.escape(source.delimiter)
        closed = rf"(?:[^{quote}]++|{quote}{quote})*+(?:{quote}[^{stop}]*+|(?P<open>\Z))"
        self._rest_of_quoted = re.compile(closed.encode())
        self._field = re.compile(rf"{quote}{closed}|[^{quote}{stop}][^{stop}]*+".encode())
        self._is_open = False

    @property
    def is_needed(self) -> bool:
        """Whether the filter changes anything."""
        return bool(self._skipped_lines or self._comment or self._is_spaced)

    def __call__(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the filtered text; each piece but the last ends with a line."""
        rest = b""
        for piece in pieces:
            text = rest + piece
            # A carriage return at the end may be half of a line end.
            end = max(text.rfind(b"\n"), text.rfind(b"\r", 0, len(text) - 1)) + 1
            end = len(text) if len(text) - end > _MAX_LINE_BYTES else end
            rest = text[end:]
            yield self._filtered(text[:end])
        yield self._filtered(rest)

    def _filtered(self, text: bytes) -> bytes:
        if self._skipped_lines:
            text = self._without_first_lines(text)
        if not self._comment and not self._is_spaced:
            return text
        if self._quote not in text:
            return text if self._is_open else self._without_quotes(text)
        return b"".join(map(self._line, text.splitlines(keepends=True)))

    def _without_first_lines(self, text: bytes) -> bytes:
        lines = text.splitlines(keepends=True)
        skipped = lines[: self._skipped_lines]
        self._skipped_lines -= len(skipped)
        return b"".join([*map(_line_end, skipped), *lines[len(skipped) :]])

    def _without_quotes(self, text: bytes) -> bytes:
        """Return whole lines without quotes, filtered at once."""
        if self._comment and self._comment in text:
            text = self._comments.sub(b"", text)
        if not self._is_spaced:
            return text
        text = text.replace(b"\t", b" ")
        while b"  " in text:
            text = text.replace(b"  ", b" ")
        for end in (b"\r", b"\n"):
            text = text.replace(b" " + end, end).replace(end + b" ", end)
        return text.strip(b" ").replace(b" ", b"\t")

    def _line(self, line: bytes) -> bytes:
        end = _line_end(line)
        text = line[: len(line) - len(end)]
        if not self._is_open and (self._quote not in text or self._is_comment(text)):
            return self._without_quotes(text) + end
        fields = self._fields(text)
        return (b"\t".join(fields) if self._is_spaced else text) + end

    def _is_comment(self, text: bytes) -> bool:
        return bool(self._comment) and text.lstrip(self._blanks).startswith(self._comment)

    def _fields(self, text: bytes) -> list[bytes]:
        """Return the values of a line, and note whether the last one ends with a later line."""
        fields, position = [], 0
        if self._is_open and (match := self._rest_of_quoted.match(text)):
            fields, position = [match[0]], match.end()
            self._is_open = match["open"] is not None
        for match in self._field.finditer(text, position) if not self._is_open else ():
            fields.append(match[0])
            self._is_open = match["open"] is not None
        return fields


def _line_end(line: bytes) -> bytes:
    return line[len(line.rstrip(b"\r\n")) :]
