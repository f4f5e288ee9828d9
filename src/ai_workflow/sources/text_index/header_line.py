"""Header line of a text file in memory, whose end is proved by the parser."""

from __future__ import annotations

from ai_workflow.config.settings import CsvSource
from ai_workflow.datasets.text_ranges import parser
from ai_workflow.datasets.text_ranges.parser import Dialect, UnusualTextError
from ai_workflow.sources import file_formats
from ai_workflow.sources.text_index import cuts, text_check

# A longer header is unusual.
HEAD_BYTES = 1 << 20
# Looked at first.
_SHORT = 1 << 12
_BOM = b"\xef\xbb\xbf"


def end(head: bytes, source: CsvSource) -> int:
    """Return the offset of the first row of data in the first `HEAD_BYTES` of a file, or in a whole file.

    Raises:
        UnusualTextError: the file is compressed, or has no row after the header.
    """
    if file_formats.is_compressed(head):
        raise UnusualTextError("a compressed file")
    mark = _mark(head)
    if not source.header:
        return mark
    for size in (_SHORT, len(head)):
        ends = cuts.row_ends(head[mark:size], source.quote.encode())
        if len(ends) > 1:
            return mark + int(ends[0])
    raise UnusualTextError("a long header, or no rows")


def check(head: bytes, source: CsvSource, dialect: Dialect) -> None:
    """Check that the text before the first row of data, if there is any, is one row.

    Raises:
        UnusualTextError: it is not.
    """
    header = head[_mark(head) :]
    if not source.header:
        return
    if parser.count_rows(header, dialect) != 1:
        raise UnusualTextError("a header in an unusual form")
    text_check.check(header, source.encoding)


def _mark(head: bytes) -> int:
    return len(_BOM) if head.startswith(_BOM) else 0
