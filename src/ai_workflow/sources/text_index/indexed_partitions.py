"""Partitions of a text file that are ranges of the file, in place of Parquet files with a copy of its rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from ai_workflow import json_text
from ai_workflow.config.settings import CsvSource, Source
from ai_workflow.datasets import fingerprint, source_columns
from ai_workflow.datasets.partitions import FOLDER, Partition, PartitionRecord
from ai_workflow.datasets.source_columns import MissingRules
from ai_workflow.datasets.text_ranges.parser import Dialect, UnusualTextError
from ai_workflow.datasets.text_ranges.text_range import TextForm, TextPlace, TextRange
from ai_workflow.sources import csv_header
from ai_workflow.sources.file_columns import FileColumns, Schema
from ai_workflow.sources.file_groups import MAX_FILE_BYTES
from ai_workflow.sources.input_files import InputFile
from ai_workflow.sources.partitioner import STAGE
from ai_workflow.sources.text_index import indexer, text_check
from ai_workflow.sources.text_index.indexer import IndexedRange
from ai_workflow.storage import temporary_folders
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.logs import logger

# Returns the partitions of a text file, None if its text needs the sequential reader.
Indexer = Callable[[], "list[PartitionRecord] | None"]
log = logger("data_loader")


def indexer_of(store: Store, files: Sequence[FileColumns], source: Source, schema: Schema) -> Indexer | None:
    """Return the indexer of a file; None for several files, and if the rows are copied.

    The rows of large local text files in UTF-8 are read from the file, if the parser of ranges observes all options.
    """
    if not isinstance(source, CsvSource) or source.keep_copy or not text_check.is_supported(source):
        return None
    columns, *others = files
    file = columns.file
    is_local = not file.member and "://" not in file.path and not temporary_folders.is_below(Path(file.path))
    is_large = file.bytes > MAX_FILE_BYTES
    return partial(_of_file, store, columns, source, schema) if is_local and is_large and not others else None


def _of_file(store: Store, columns: FileColumns, source: CsvSource, schema: Schema) -> list[PartitionRecord] | None:
    """Return the partitions of a file, without its name; None if its text needs the sequential reader.

    Raises:
        StageError: the file cannot be read, or has changed since it was inspected.
    """
    file = columns.file
    names = csv_header.names(file, source)
    dialect = Dialect(len(names), source.delimiter, source.quote)
    try:
        if len(names) < 2:
            raise UnusualTextError("a blank line may be a value")
        ranges = indexer.ranges(store, file, source, dialect)
    except (UnusualTextError, MemoryError) as error:
        log.debug("the rows of %s are copied: %s", file.shown, error)
        return None
    form = form_of(names, columns, source, schema)
    return [_partition(store, each, form) for each in ranges]


def placed(part: Partition, file: InputFile) -> Partition:
    """Return a partition with the path of its file."""
    return replace(part, place={**part.place, "file": file.path}) if part.place else part


def form_of(names: list[str], columns: FileColumns, source: CsvSource, schema: Schema) -> TextForm:
    """Return the form of a text file with the columns `names`, whose rows have the columns of `schema`."""
    rules = MissingRules(source.missing, source.strip)
    positions = {name: number for number, name in enumerate(names)}
    own = {name for name, _ in columns.own}
    return {
        "width": len(names),
        "delimiter": source.delimiter,
        "quote": source.quote,
        "missing": sorted({"", *(token.strip() if rules.strip else token for token in rules.tokens)}),
        "strip": rules.strip,
        "columns": [
            {"name": name, "position": positions[name], "value": None}
            if name in own
            else {"name": name, "position": None, "value": _folder_value(columns.folders.get(name), rules)}
            for name, _ in schema
        ],
    }


def _folder_value(value: str | None, rules: MissingRules) -> str | None:
    import pyarrow as pa

    text: str | None = source_columns.normalize(pa.chunked_array([[value]], pa.string()), "string", rules)[0].as_py()
    return text


def _partition(store: Store, indexed: IndexedRange, form: TextForm) -> PartitionRecord:
    """Write the description of a range, and return its partition."""
    content: TextRange = {
        "sha256": indexed["sha256"],
        "first_row": indexed["first_row"],
        "rows": indexed["rows"],
        **form,
    }
    name = fingerprint.of("range", content)
    ref = store.write(f"{FOLDER}/{STAGE}/{name}.text.json", json_text.document(content))
    place: TextPlace = {
        "file": "", "offset": indexed["offset"], "sha256": indexed["sha256"], "pieces": indexed["pieces"]
    }  # fmt: skip
    return replace(Partition.of(ref, indexed["rows"], source=""), place=place).to_json()
