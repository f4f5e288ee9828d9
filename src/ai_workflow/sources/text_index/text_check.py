"""Check that a text has a form that needs no sequential reader."""

from __future__ import annotations

import codecs
import re

from ai_workflow.config.settings import CsvSource
from ai_workflow.datasets.text_ranges.parser import UnusualTextError

_BLANK_LINE = re.compile(rb"(\A|\n)[ \t]*\r?\n")
_BLANK_STARTS = (b"\n", b"\r", b" ", b"\t")
_BOM = codecs.BOM_UTF8
_UTF8 = ("utf-8", "utf-8-sig", "ascii")
# Options that the parser of ranges observes, and those that have no effect on the text.
_OPTIONS = {
    *("kind", "path", "header", "columns", "delimiter", "quote", "encoding", "missing", "strip", "drop"),
    *("default_missing", "decimal", "thousands", "partition_rows", "keep_copy"),
}


def is_supported(source: CsvSource) -> bool:
    """Return whether the parser of ranges observes all options of a source."""
    is_utf8 = codecs.lookup(source.encoding).name in _UTF8
    return is_utf8 and len(source.delimiter) == 1 and set(source.model_dump(exclude_defaults=True)) <= _OPTIONS


def check(data: bytes, encoding: str) -> None:
    """Check a piece of text.

    Raises:
        UnusualTextError: it has a blank line, a NUL, a carriage return alone, a byte outside of the encoding, or a byte
            order mark at its start.
    """
    if b"\0" in data or data.startswith(_BOM) or _has_blank_line(data):
        raise UnusualTextError("a blank line, a NUL or a byte order mark")
    if b"\r" in data and data.count(b"\r") != data.count(b"\r\n"):
        raise UnusualTextError("a carriage return alone")
    if not data.isascii():
        try:
            data.decode("ascii" if codecs.lookup(encoding).name == "ascii" else "utf-8")
        except UnicodeDecodeError as error:
            raise UnusualTextError(str(error)) from error


def _has_blank_line(data: bytes) -> bool:
    """Return whether a line is empty or blank, also within quotes; a fast search comes first."""
    import numpy as np

    text = np.frombuffer(data, dtype="uint8")
    first = text[1:][text[:-1] == ord("\n")]
    if data.startswith(_BLANK_STARTS) or np.isin(first, list(b"".join(_BLANK_STARTS))).any():
        return _BLANK_LINE.search(data) is not None
    return False
