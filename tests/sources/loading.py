"""How these tests load a source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ai_workflow.config.settings import CsvSource, ParquetSource, SampleSource, Source, SqlSource
from ai_workflow.datasets import partitions
from ai_workflow.datasets.partitions import Dataset
from ai_workflow.errors import StageError
from ai_workflow.sources.file_columns import FileColumns
from ai_workflow.sources.text_index.whole_files import FileReader
from ai_workflow.stages import data_loader
from ai_workflow.storage.store import Store


def csv(path: object, **options: Any) -> CsvSource:
    """Return a CSV source."""
    return CsvSource(kind="csv", path=str(path), **options)


def parquet(path: object, **options: Any) -> ParquetSource:
    """Return a Parquet source."""
    return ParquetSource(kind="parquet", path=str(path), **options)


def sql(url: str, **options: Any) -> SqlSource:
    """Return a SQL source."""
    return SqlSource.model_validate({"kind": "sql", "url": url, **options})


def sample(name: str = "digits", **options: Any) -> SampleSource:
    """Return a sample source."""
    return SampleSource.model_validate({"kind": "sample", "name": name, **options})


def parsed_files(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets the names of the files that are parsed from now on."""
    names: list[str] = []
    real = FileReader.tables

    def tables(reader: FileReader, columns: FileColumns) -> Any:
        names.append(columns.file.name)
        return real(reader, columns)

    monkeypatch.setattr(FileReader, "tables", tables)
    return names


def load(store: Store, source: Source) -> Dataset:
    """Load a source and return the dataset."""
    return Dataset.load(store, data_loader.load(store, source, data_loader.inspect(source)))


def frame(store: Store, source: Source) -> pd.DataFrame:
    """Load a source and return all of its rows."""
    return pd.concat([part for _, part in partitions.frames(store, load(store, source))], ignore_index=True)


def rows(store: Store, source: Source) -> list[tuple[Any, ...]]:
    """Load a source and return its rows as tuples, the row number first; missing is None."""
    dataset = load(store, source)
    return [tuple(row.values()) for part in dataset.partitions for row in partitions.table(store, part).to_pylist()]


def refused(store: Store, source: Source) -> str:
    """Load a source that cannot be loaded, see that no dataset came to be, and return the error text."""
    with pytest.raises(StageError) as caught:
        load(store, source)
    assert store.names("data/datasets") == []
    assert caught.value.remedy
    return str(caught.value)


def write(path: Path, content: str | bytes) -> Path:
    """Write a file as it stands, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path
