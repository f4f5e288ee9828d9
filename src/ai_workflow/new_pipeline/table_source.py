"""The source of a table file: its kind by the ending of its name, its options by its content."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

from ai_workflow.config.settings import CsvSource, ExcelSource, FileSource, JsonLinesSource, ParquetSource
from ai_workflow.errors import AiWorkflowError, StageError
from ai_workflow.sources import csv_dialect, csv_header, csv_source, parquet_source, text_stream
from ai_workflow.sources.input_files import InputFile
from ai_workflow.sources.typed_files import excel_source, jsonl_source
from ai_workflow.stages import data_loader

_PACKED = (".gz", ".bz2", ".xz", ".zst")
_READERS = (csv_source, jsonl_source, parquet_source, excel_source)
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# Each byte has a meaning in latin-1, so that it reads all that cp1252 does not.
_ENCODINGS = ("utf-8", "cp1252", "latin-1")


class TableFileError(AiWorkflowError):
    """A file cannot be the table of a pipeline."""


def detect(file: Path, sheet: str | None = None) -> FileSource:
    """Return the source of a table, with its absolute path.

    Args:
        file: the file.
        sheet: the sheet of a workbook with several.

    Raises:
        TableFileError: the file is missing, its ending is not known, or it has no sheets.
        StageError: it is empty, or cannot be read.
    """
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "does not exist"
        raise TableFileError(f"--from: {file} {what}. Pass the file of a table")
    source = _by_suffix(file, str(file.resolve()))
    if sheet is not None and not isinstance(source, ExcelSource):
        raise TableFileError(f"--sheet: {file} is no workbook. Omit --sheet")
    if isinstance(source, ExcelSource):
        return source.model_copy(update={"sheet": sheet})
    return _with_dialect(source, file) if isinstance(source, CsvSource) else source


def _by_suffix(file: Path, path: str) -> FileSource:
    """Return the source of the kind that the ending of a file names."""
    suffixes = [suffix.lower() for suffix in file.suffixes]
    suffix = next((each for each in reversed(suffixes) if each not in _PACKED), "")
    if suffix in csv_source.SUFFIXES:
        return CsvSource(kind="csv", path=path)
    if suffix in jsonl_source.SUFFIXES:
        return JsonLinesSource(kind="jsonl", path=path)
    if suffix in parquet_source.SUFFIXES:
        return ParquetSource(kind="parquet", path=path)
    if suffix in excel_source.SUFFIXES:
        return ExcelSource(kind="excel", path=path)
    known = dict.fromkeys(each for reader in _READERS for each in reader.SUFFIXES)
    raise TableFileError(f"--from: {file} has an unknown ending. Rename it to one of {', '.join(known)}")


def _with_dialect(source: CsvSource, path: Path) -> CsvSource:
    """Return the source with the encoding and the dialect of its file.

    Raises:
        StageError: no options turn the file into a table.
    """
    file = InputFile(**data_loader.inspect(source)[0])
    source = source.model_copy(update={"encoding": _encoding(path, file)})
    problem: StageError | None = None
    for candidate in _dialects(source, file):
        try:
            csv_header.names(file, candidate)
        except StageError as error:
            problem = problem or error
        else:
            return candidate
    assert problem is not None
    raise problem


def _encoding(path: Path, file: InputFile) -> str:
    """Return the first usual encoding that has all bytes of a file."""
    with path.open("rb") as opened:
        if opened.read(2) in _UTF16:
            return "utf-16"
    return next((each for each in _ENCODINGS if not _has_bad_bytes(file, each)), _ENCODINGS[0])


def _has_bad_bytes(file: InputFile, encoding: str) -> bool:
    with text_stream.open_pieces(file, encoding) as pieces:
        return any(b"\0" in piece for piece in pieces)


def _dialects(source: CsvSource, file: InputFile) -> Iterator[CsvSource]:
    """Yield the usual options and those that the beginning of the file suggests, with a header and without."""
    text = text_stream.head(file, source.encoding)
    for declared in (source, source.model_copy(update={"header": False})):
        yield declared
        if suggested := csv_dialect.adapted(text, declared):
            yield suggested
