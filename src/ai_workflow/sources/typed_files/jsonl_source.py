"""JSON lines as typed tables: one object per line, whose keys are columns; a row has the number of its line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ai_workflow.config.settings import JsonLinesSource
from ai_workflow.datasets import source_columns
from ai_workflow.datasets.source_columns import DetectedKind, MissingRules
from ai_workflow.errors import StageError
from ai_workflow.sources import text_stream, zip_archive
from ai_workflow.sources.input_files import InputFile
from ai_workflow.sources.typed_files import cell_values
from ai_workflow.sources.typed_files.cell_values import RepeatedKeyError, ValueKind

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = (".jsonl", ".ndjson", ".json", ".zip")
ARCHIVE_MEMBERS = zip_archive.members
# The kinds follow from all lines, so they are kept for a file that was read before.
READS_ALL_FOR_SCHEMA = True
_BATCH = 10_000
_SHOWN = 40
_LINES = "Write one object per line; jq -c '.[]' does that for an array"


def schema(file: InputFile, source: JsonLinesSource) -> list[tuple[str, DetectedKind]]:
    """Return the keys of all lines, in the order of their first appearance, with the kinds of their values.

    Raises:
        StageError: a line is not an object of single values, or a key cannot be a column.
    """
    kinds: dict[str, set[ValueKind]] = {}
    number = 0
    for number, values in _objects(file):
        for name, value in values.items():
            kind = cell_values.kind_of(value)
            kinds.setdefault(name, set()).add(kind)
            if kind == "nested" and name not in source.drop:
                held = "a list" if isinstance(value, list) else "an object"
                raise StageError(
                    f"{file.shown}, row {number}: '{name}' holds {held}, not a single value",
                    f"Spread it over keys, or {source_columns.leave_out(name)}",
                )
    if not kinds:
        problem = "has no key in any line" if number else "holds only blank lines"
        raise StageError(f"{file.shown} {problem}", "Give a file with rows, or take it out")
    kept = [name for name in kinds if name not in source.drop]
    source_columns.check_names(kept, f"{file.shown}, keys")
    return [(name, cell_values.column_kind(kinds[name])) for name in kept]


def read(file: InputFile, source: JsonLinesSource, columns: list[tuple[str, DetectedKind]]) -> Iterator[pa.Table]:
    """Yield the rows with the names and kinds of `columns`, in that order; a key that a line lacks is missing.

    Raises:
        StageError: a line is not an object, or the file is damaged or changed.
    """
    rows: list[tuple[int, dict[str, Any]]] = []
    for row in _objects(file):
        rows.append(row)
        if len(rows) == _BATCH:
            yield _table(rows, columns, source, file)
            rows = []
    if rows:
        yield _table(rows, columns, source, file)


def _table(
    rows: list[tuple[int, dict[str, Any]]],
    columns: list[tuple[str, DetectedKind]],
    source: JsonLinesSource,
    file: InputFile,
) -> pa.Table:
    import pyarrow as pa

    missing = MissingRules(source.missing, source.strip)
    arrays = {}
    for name, kind in columns:
        try:
            values = cell_values.array([values.get(name) for _, values in rows], kind)
        except UnicodeEncodeError:
            raise _half_character(rows, name, file) from None
        arrays[name] = source_columns.normalize(pa.chunked_array([values]), kind, missing)
    return source_columns.with_row_numbers(arrays, pa.array([number for number, _ in rows], pa.int64()))


def _half_character(rows: list[tuple[int, dict[str, Any]]], name: str, file: InputFile) -> StageError:
    for number, values in rows:
        try:
            str(values.get(name)).encode()
        except UnicodeEncodeError as error:
            return StageError(
                f"{file.shown}, row {number}, '{name}': {error.object[error.start]!a} is half of a character",
                "Write the text as UTF-8",
            )
    raise AssertionError("every value of the column is text")


def _objects(file: InputFile) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number and the value of each line that is not blank."""
    with text_stream.open_pieces(file, "utf-8") as pieces:
        for number, line in enumerate(_lines(pieces, file), 1):
            if line and not line.isspace():
                yield number, _object(line, number, file)


def _lines(pieces: Iterable[bytes], file: InputFile) -> Iterator[bytes]:
    rest, count = b"", 0
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
        count += len(lines)
        if len(rest) > text_stream.BLOCK:
            raise StageError(
                f"{file.shown}, row {count + 1} is longer than {text_stream.BLOCK >> 20} MiB",
                _LINES,
            )
    yield rest


def _object(line: bytes, number: int, file: InputFile) -> dict[str, Any]:
    """Return the object of a line."""
    text, place = line.decode(), f"{file.shown}, row {number}"
    if match := text_stream.BAD_BYTE.search(text):
        raise StageError(f"{place}: byte 0x{match[1].upper()} is not utf-8", "Write the file as UTF-8")
    try:
        value = cell_values.parse(text)
    except RepeatedKeyError as error:
        raise StageError(f"{place}: the key '{error}' is there twice", "Give each key of an object once") from None
    except (ValueError, RecursionError) as error:
        shown = text.strip()[:_SHOWN]
        raise StageError(f"{place} is not JSON: {error}: {shown}", _LINES) from None
    if not isinstance(value, dict):
        shown = text.strip()[:_SHOWN]
        raise StageError(f"{place} is not a JSON object: {shown}", _LINES)
    return value
