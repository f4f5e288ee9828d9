"""Guess of the source options that the beginning of a file needs, for errors whose remedy is a line of YAML."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from ai_workflow import json_text
from ai_workflow.config.settings import CsvSource
from ai_workflow.config.settings.source import WHITESPACE
from ai_workflow.sources.line_filter import LineFilter

_MARKS = ("#", "%", "//")
_DELIMITERS = (",", ";", "\t", "|", WHITESPACE)
_SAMPLE_CHARACTERS, _SAMPLE_ROWS = 1 << 16, 100
_MAX_LINES_BEFORE = 50
# Fraction of the rows after the header with as many values as the header.
_REGULAR = 0.9
_SPACED = [f"source.delimiter: {WHITESPACE}"]
_WITHOUT_BLANKS = "Write the file without blanks before the quotes"
NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")


class Row(NamedTuple):
    """A row: the number of its last line, and its values."""

    line: int
    values: list[str]


class Guess(NamedTuple):
    """A problem of the beginning of a file, as the predicate of its name, and the options that solve it."""

    problem: str
    remedy: str


class _Candidate(NamedTuple):
    """Options that make a file regular; `columns` are the names for a file whose header is no row."""

    source: CsvSource
    lines_before: int
    header: list[str]
    columns: list[str]
    rank: tuple[object, ...]


def rows_of(text: str, source: CsvSource, *, ignores_blanks: bool = False) -> Iterator[Row]:
    """Yield the rows of a text that are not blank; `ignores_blanks` after delimiters."""
    lines = LineFilter(source)
    if lines.is_needed:
        text = b"".join(lines([text.encode()])).decode()
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=source.separator, quotechar=source.quote,
        skipinitialspace=ignores_blanks,
    )  # fmt: skip
    for values in reader:
        if len(values) > 1 or "".join(values).strip(" \t"):
            yield Row(reader.line_num, values)


def comment_of(line: str) -> str | None:
    """Return the usual comment characters that a line begins with, if any."""
    return next((mark for mark in _MARKS if line.lstrip(" ").startswith(mark)), None)


def guess(text: str, source: CsvSource, width: int) -> Guess | None:
    """Return the options that turn the beginning of a file into a table, if they differ from those of `source`.

    Args:
        text: the text before any line is left out.
        source: the declared options.
        width: the number of columns with them.
    """
    if _has_blanks_before_quotes(_sample(text), source):
        return Guess(f"has blanks before quotes {source.quote}, which are then part of the text", _WITHOUT_BLANKS)
    best = _best(text, source)
    return _describe(best, source, width) if best else None


def adapted(text: str, source: CsvSource) -> CsvSource | None:
    """Return the source with the options that turn the beginning of a file into a table; None if there are none.

    Args:
        text: the text before any line is left out.
        source: the declared options.
    """
    best = _best(text, source)
    if best is None:
        return None
    names = {"header": False, "columns": tuple(best.columns)} if best.columns else {}
    return best.source.model_copy(update={"skip_rows": best.lines_before, **names})


def _sample(text: str) -> str:
    """Return the whole lines at the beginning of a text."""
    sample = text[:_SAMPLE_CHARACTERS]
    return sample if len(text) == len(sample) else sample[: max(sample.rfind("\n"), sample.rfind("\r")) + 1]


def _best(text: str, source: CsvSource) -> _Candidate | None:
    """Return the options that make the beginning of a file regular."""
    sample = _sample(text)
    marks = {mark: None for line in sample.splitlines()[:_SAMPLE_ROWS] if (mark := comment_of(line))}
    candidates = []
    for comment in [source.comment] if source.comment else [None, *marks]:
        for delimiter in dict.fromkeys((source.delimiter, *_DELIMITERS)):
            options = {"comment": comment, "delimiter": delimiter, "skip_rows": 0}
            candidate = _candidate(sample, source, source.model_copy(update=options))
            candidates += [candidate] if candidate else []
    return min(candidates, key=lambda each: each.rank, default=None)


def _has_blanks_before_quotes(text: str, source: CsvSource) -> bool:
    """Return whether the rows are regular only without the blanks between delimiters and quotes."""
    if not re.search(rf"{re.escape(source.separator)}[ \t]+{re.escape(source.quote)}", text):
        return False
    try:
        widths = {len(row.values) for row in islice(rows_of(text, source, ignores_blanks=True), _SAMPLE_ROWS)}
    except csv.Error:
        return False
    return len(widths) == 1 and widths != {1}


def _candidate(text: str, declared: CsvSource, source: CsvSource) -> _Candidate | None:
    """Return the place of the header for these options; None if the rows are not regular."""
    try:
        rows = [row for row, _ in zip(rows_of(text, source), range(_SAMPLE_ROWS), strict=False)]
    except (csv.Error, TypeError):
        return None
    widths = Counter(len(row.values) for row in rows)
    width = max(widths, key=lambda each: (widths[each], each), default=0)
    first = next((number for number, row in enumerate(rows) if len(row.values) == width), 0)
    while first < len(rows) - 2 and _is_title(rows[first].values):
        first += 1
    table = rows[first:]
    if width < 2 or len(table) < 2 or first > _MAX_LINES_BEFORE or len(declared.columns) not in (0, width):
        return None
    if sum(len(row.values) == width for row in table) < _REGULAR * len(table):
        return None
    if first and source.delimiter == WHITESPACE != declared.delimiter and not _is_numeric(table[1:]):
        return None
    header, columns = [name.strip() for name in table[0].values], []
    if source.delimiter == WHITESPACE != declared.delimiter and any(
        mark in name for name in header for mark in (declared.delimiter, *_DELIMITERS) if mark != WHITESPACE
    ):
        return None
    if declared.header and not _is_header(header):
        columns = _names_elsewhere(text, rows[:first], table, source)
        if not columns:
            return None
    before = rows[first - 1].line if first else 0
    rank = (first, source.comment != declared.comment, source.delimiter != declared.delimiter, -width)
    return _Candidate(source, before, header, columns, rank)


def _names_elsewhere(text: str, before: list[Row], table: list[Row], source: CsvSource) -> list[str]:
    """Return names in a comment, as numpy writes them, or of a header that lacks the name of one column.

    This is the last column if it is empty, because each row ends with a delimiter, else the first one.
    """
    first = table[0].values
    if len(before) == 1 and 1 < len(before[0].values) == len(first) - 1 and _is_header(["", *before[0].values]):
        names = [name.strip() for name in before[0].values]
        return ["index", *names] if any(row.values[-1].strip() for row in table) else [*names, f"Unnamed: {len(names)}"]
    comments = [line for line in text.splitlines()[:_SAMPLE_ROWS] if source.comment and line.startswith(source.comment)]
    if not comments or before:
        return []
    line = comments[-1].removeprefix(source.comment or "").strip()
    names = [
        name.strip() for name in (line.split() if source.delimiter == WHITESPACE else line.split(source.delimiter))
    ]
    return names if len(names) == len(first) and _is_header(names) else []


def _is_title(values: Sequence[str]) -> bool:
    """Return whether a row looks like a title that was padded with empty values."""
    return len(values) > 2 and sum(bool(value.strip()) for value in values) < len(values) / 2


def _is_numeric(rows: Sequence[Row]) -> bool:
    """Return whether half of the values are numbers: words in a title and in values are separated by blanks, too."""
    values = [value for row in rows for value in row.values]
    return sum(bool(NUMBER.fullmatch(value)) for value in values) >= len(values) / 2


def _is_header(names: Sequence[str]) -> bool:
    return all(names[1:]) and not any(NUMBER.fullmatch(name) for name in names)


def _describe(best: _Candidate, source: CsvSource, width: int) -> Guess | None:
    """Return the differences of the options from those of the source."""
    options, problems = [], []
    delimiter = best.source.delimiter
    if delimiter != source.delimiter:
        shown = "blanks" if delimiter == WHITESPACE else f"'{delimiter}'"
        only = f"has only one column with the delimiter '{source.delimiter}'" if width == 1 else ""
        problems.append(only or f"has values that are separated by {shown}")
        options.append("source.delimiter: " + {WHITESPACE: WHITESPACE, "\t": '"\\t"'}.get(delimiter, f'"{delimiter}"'))
    if best.source.comment != source.comment:
        problems.append(f"has lines that begin with '{best.source.comment}' and are no rows")
        options.append(f'source.comment: "{best.source.comment}"')
    if best.lines_before != source.skip_rows:
        names = best.columns or best.header
        shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
        place = "last" if names[-1].startswith("Unnamed: ") else "first"
        part = f"a header without the name of the {place} column" if best.columns else "lines before the table"
        problems.append(f"has {part}; the table seems to be: {shown}")
        options.append(f"source.skip_rows: {best.lines_before}")
    if best.columns:
        listed = (json_text.line(name) if ": " in name else name for name in best.columns)
        options += ["source.header: false", f"source.columns: [{', '.join(listed)}]"]
    if not options:
        return None
    one = ", or if it is one column, name it by source.skip_rows, header: false and columns"
    return Guess(" and ".join(problems), f"Set {', '.join(options)}{one if options == _SPACED else ''}")
