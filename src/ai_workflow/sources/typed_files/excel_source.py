"""A sheet of Excel workbooks as typed tables; a row has the number that Excel shows."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ai_workflow.config.settings import ExcelSource
from ai_workflow.datasets import source_columns
from ai_workflow.datasets.source_columns import DetectedKind, MissingRules
from ai_workflow.errors import StageError
from ai_workflow.sources import input_files
from ai_workflow.sources.input_files import HashingReader, InputFile
from ai_workflow.sources.typed_files import workbook_cells
from ai_workflow.sources.typed_files.workbook_cells import Cell

if TYPE_CHECKING:
    import pyarrow as pa
    import python_calamine

SUFFIXES = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
# The kinds follow from all rows, so they are kept for a file that was read before.
READS_ALL_FOR_SCHEMA = True
_MAX_UNPACKED_BYTES = 4 << 30
_BATCH = 10_000
_SHOWN = 8
Row = tuple[int, list[Cell]]


def schema(file: InputFile, source: ExcelSource) -> list[tuple[str, DetectedKind]]:
    """Return the names of the columns with the kinds of their values.

    Raises:
        StageError: the file is no workbook, the sheet is not there or not clear, or a column has no name.
    """
    names, rows = _table(file, source)
    return [
        (name, workbook_cells.kind_of(cells[position] for _, cells in rows))
        for position, name in enumerate(names)
        if name and name not in source.drop
    ]


def read(file: InputFile, source: ExcelSource, columns: list[tuple[str, DetectedKind]]) -> Iterator[pa.Table]:
    """Yield the rows with the names and kinds of `columns`, in that order; blank rows are left out.

    Raises:
        StageError: the file is no workbook, or has changed.
    """
    import pyarrow as pa

    names, rows = _table(file, source)
    missing = MissingRules(source.missing, source.strip)
    for start in range(0, len(rows), _BATCH):
        batch = rows[start : start + _BATCH]
        values = {}
        for name, kind in columns:
            position = names.index(name)
            array = workbook_cells.array([cells[position] for _, cells in batch], kind)
            values[name] = source_columns.normalize(pa.chunked_array([array]), kind, missing)
        yield source_columns.with_row_numbers(values, pa.array([number for number, _ in batch], pa.int64()))


def _table(file: InputFile, source: ExcelSource) -> tuple[list[str], list[Row]]:
    """Return the names of all columns, empty for one without a name and values, and the rows below them."""
    sheet = _sheet(_workbook(file), file, source)
    rows = [
        (number, [workbook_cells.plain(cell) for cell in cells])
        for number, cells in enumerate(sheet.iter_rows(), 1)
        if number > source.skip_rows and any(cell != "" for cell in cells)
    ]
    place = f"{file.shown}, sheet '{sheet.name}'"
    if not rows:
        raise StageError(f"{place} holds only blank rows", "Give a sheet with rows, or correct source.skip_rows")
    (number, first), width = rows[0], len(rows[0][1])
    rows = rows[1:] if source.header else rows
    used = [any(cells[position] is not None for _, cells in rows) for position in range(width)]
    if source.header:
        names = [workbook_cells.text(cell).strip() for cell in first]
        names = source_columns.with_index_name(_without_padding(names, used))
        _check_title(names, rows, used, f"{place}, row {number}")
    else:
        names = list(source.columns) or [f"column_{position}" for position in range(width)]
        if len(names) != width:
            raise StageError(
                f"{place} has {width} columns, source.columns names {len(names)}",
                "Name each column, in the order of the sheet",
            )
    kept = [name for position, name in enumerate(names) if name not in source.drop and (name or used[position])]
    source_columns.check_names(kept, f"{place}, header" if source.header else "source.columns")
    return names, rows


def _without_padding(names: list[str], used: Sequence[bool]) -> list[str]:
    """Return the names up to the last column that has a name or a value."""
    count = max((position + 1 for position, name in enumerate(names) if name or used[position]), default=0)
    return names[:count]


def _check_title(names: list[str], rows: list[Row], used: Sequence[bool], place: str) -> None:
    """Check that a header with gaps is not a title, or the first line of a header with merged cells."""
    gaps = [position for position, name in enumerate(names) if not name and used[position]]
    if not gaps:
        return
    for number, cells in rows[:20]:
        if all(isinstance(cell, str) for cell, is_used in zip(cells, used, strict=True) if is_used):
            shown = ", ".join(str(cell) for cell in cells if cell is not None)
            raise StageError(
                f"{place}: {len(gaps)} columns have no name; row {number} seems to be the header: {shown}",
                f"Set source.skip_rows: {number - 1}",
            )


def _sheet(
    workbook: python_calamine.CalamineWorkbook, file: InputFile, source: ExcelSource
) -> python_calamine.CalamineSheet:
    """Return the sheet that is declared, or the only one that is not empty."""
    names = workbook.sheet_names
    shown = ", ".join(f"'{name}'" for name in names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    if source.sheet is not None:
        if source.sheet not in names:
            raise StageError(f"{file.shown} has no sheet '{source.sheet}', only {shown}", "Correct source.sheet")
        return workbook.get_sheet_by_name(source.sheet)
    sheets = [workbook.get_sheet_by_name(each.name) for each in workbook.sheets_metadata if _is_worksheet(each)]
    filled = [sheet for sheet in sheets if sheet.start is not None]
    if len(filled) > 1:
        raise StageError(
            f"{file.shown} has several sheets: {shown}", f'Set source.sheet: "{filled[0].name}", or another'
        )
    if not filled:
        raise StageError(f"{file.shown} has no sheet with rows", "Give a workbook with rows, or take it out")
    return filled[0]


def _is_worksheet(sheet: Any) -> bool:
    return str(sheet.typ).endswith("WorkSheet")


def _workbook(file: InputFile) -> python_calamine.CalamineWorkbook:
    try:
        import python_calamine
    except ImportError as error:
        raise StageError(
            f"{file.shown} needs the package python-calamine, which is not installed",
            "Install it: .venv/bin/pip install -e '.[excel]'",
        ) from error
    with input_files.opened(file.path) as raw:
        content = io.BytesIO()
        reader = HashingReader(raw)
        while piece := reader.read(1 << 20):
            content.write(piece)
    if reader.sha256 != file.sha256:
        raise file.changed()
    try:
        _check_size(content, file)
        content.seek(0)
        return python_calamine.CalamineWorkbook.from_filelike(content)
    except python_calamine.PasswordError as error:
        raise StageError(f"{file.shown} is encrypted", "Save it without a password") from error
    except (python_calamine.CalamineError, zipfile.BadZipFile) as error:
        raise StageError(
            f"{file.shown} is damaged or no Excel workbook: {error}",
            "Save it again as .xlsx; if it is delimited text, set source.kind: csv",
        ) from error


def _check_size(content: io.BytesIO, file: InputFile) -> None:
    """Check that a workbook fits into memory, which the reader of workbooks needs."""
    if not zipfile.is_zipfile(content):
        return
    with zipfile.ZipFile(content) as archive:
        size = sum(each.file_size for each in archive.infolist())
    if size > _MAX_UNPACKED_BYTES:
        raise StageError(f"{file.shown} has {size >> 30} GiB unpacked, which is too large", "Save the sheet as CSV")
