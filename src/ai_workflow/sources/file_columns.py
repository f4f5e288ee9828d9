"""Columns of a source of several files: the columns in the files, and those in names of folders (`country=de/`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from ai_workflow.config.settings import FileSource
from ai_workflow.datasets import source_columns
from ai_workflow.datasets.partitions import ROW
from ai_workflow.datasets.source_columns import DetectedKind, MissingRules
from ai_workflow.errors import StageError
from ai_workflow.sources import csv_source, parquet_source
from ai_workflow.sources.input_files import InputFile
from ai_workflow.sources.typed_files import excel_source, jsonl_source

if TYPE_CHECKING:
    import pyarrow as pa

Schema = list[tuple[str, DetectedKind]]
_READERS: dict[str, ModuleType] = {
    "csv": csv_source,
    "parquet": parquet_source,
    "jsonl": jsonl_source,
    "excel": excel_source,
}
_MISSING_FOLDER = "__HIVE_DEFAULT_PARTITION__"


class FileColumns(NamedTuple):
    """The columns of a file, and the values that the names of its folders give to all of its rows."""

    file: InputFile
    own: Schema
    folders: Mapping[str, str | None]

    @property
    def kinds(self) -> dict[str, DetectedKind]:
        """All columns of the file's rows."""
        return {**dict(self.own), **dict.fromkeys(self.folders, "string")}


def reader_of(source: FileSource) -> ModuleType:
    """Return the module that reads files of this kind."""
    return _READERS[source.kind]


def of_file(file: InputFile, own: Schema, dropped: Sequence[str]) -> FileColumns:
    """Return the columns of a file; columns in `dropped` are not in `own`.

    Raises:
        StageError: a folder gives a value to a column of the file, or its name cannot be a column.
    """
    folders = {name: value for name, value in _folder_values(file.name).items() if name not in dropped}
    source_columns.check_names(list(folders), f"{file.shown}, names of folders")
    if twice := [name for name, _ in own if name in folders]:
        raise StageError(
            f"{file.shown}: column '{twice[0]}' is in the file and in the name of its folder",
            f"Write the files without '{twice[0]}', or rename the folders",
        )
    return FileColumns(file, own, folders)


def merge(files: Sequence[FileColumns], is_text_if_mixed: bool = False) -> Schema:
    """Return the columns of all files: those of the first file, then those that are in later files only.

    Args:
        files: at least one file.
        is_text_if_mixed: whether a column of incompatible kinds is text.

    Raises:
        StageError: a column has incompatible kinds, or a file has no column in common with those before.
    """
    merged = files[0].kinds
    if not merged:
        raise StageError(f"{files[0].file.shown}: every column is dropped", "Keep one in source.drop and `schema`")
    for columns in files[1:]:
        if not columns.kinds.keys() & merged.keys():
            raise StageError(
                f"{columns.file.shown} and {files[0].file.shown} have no column in common: "
                f"the former has {_list(columns.kinds)}",
                "Give all files the same columns, or narrow source.path",
            )
        for name, kind in columns.kinds.items():
            common = source_columns.common_kind([merged.get(name, kind), kind])
            if common is None and is_text_if_mixed:
                common = "string"
            if common is None:
                raise StageError(
                    f"column '{name}' is {kind} in {columns.file.shown} and {merged[name]} before",
                    "Write it with one type in all files",
                )
            merged[name] = common
    return list(merged.items())


def check_widths(files: Sequence[FileColumns]) -> None:
    """Check that files without column names have the same number of columns.

    Raises:
        StageError: a file has another number of columns than the first one.
    """
    first, width = files[0].file, len(files[0].own)
    for file, own, _ in files:
        if len(own) != width:
            raise StageError(
                f"{file.shown} has {len(own)} columns, {first.shown} has {width}",
                "Give all files the same columns, or narrow source.path",
            )


def complete(
    tables: Iterable[pa.Table], schema: Schema, folders: Mapping[str, str | None], missing: MissingRules
) -> Iterator[pa.Table]:
    """Yield the tables of a file with the columns of `schema`; a column that the file lacks has no values."""
    import pyarrow as pa

    types = {name: source_columns.arrow_type(kind) for name, kind in schema}
    values = {
        name: source_columns.normalize(pa.array([value], pa.string()), "string", missing)[0]
        for name, value in folders.items()
    }
    for table in tables:
        own = set(table.column_names)
        columns = {
            name: table[name] if name in own else pa.repeat(values.get(name, pa.scalar(None, kind)), table.num_rows)
            for name, kind in types.items()
        }
        yield pa.table({ROW: table[ROW], **columns})


def read(reader: ModuleType, columns: FileColumns, source: FileSource, schema: Schema) -> Iterator[pa.Table]:
    """Yield the rows of a file with the columns of `schema`."""
    kinds = dict(schema)
    tables = reader.read(columns.file, source, [(name, kinds[name]) for name, _ in columns.own])
    return complete(tables, schema, columns.folders, MissingRules(source.missing, source.strip))


def _folder_values(name: str) -> dict[str, str | None]:
    """Return the columns in the folders of a file name, as Hive, Spark and pandas write them."""
    values: dict[str, str | None] = {}
    for folder in name.split("/")[:-1]:
        column, separator, value = folder.partition("=")
        if column and separator:
            values[unquote(column)] = None if value == _MISSING_FOLDER else unquote(value)
    return values


def _list(names: Iterable[str]) -> str:
    shown = list(names)
    return ", ".join(shown[:8]) + (", …" if len(shown) > 8 else "")
