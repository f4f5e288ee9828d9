"""What loading promises: rows are read once, only what is new is written, nothing half-done is seen."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ai_workflow.datasets import parquet as files
from ai_workflow.datasets import partition_cache
from ai_workflow.datasets.partitions import Dataset
from ai_workflow.errors import EmptySourceError, StageError
from ai_workflow.runtime import progress
from ai_workflow.sources import text_stream
from ai_workflow.stages import data_loader
from ai_workflow.storage.store import Store
from tests.sources.loading import csv, load, parquet, parsed_files, refused, rows, sample, sql, write


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """An empty store, in a folder of its own."""
    return Store(tmp_path_factory.mktemp("var"))


def numbers(first: int, last: int) -> str:
    return "id,word\n" + "".join(f"{number},w{number % 7}\n" for number in range(first, last + 1))


def times(store: Store) -> dict[str, int]:
    """When each partition in the store was written."""
    names = [name for name in store.names("data/loaded") if name.endswith(".parquet")]
    return {name: store.local(f"data/loaded/{name}").stat().st_mtime_ns for name in names}


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were parsed."""
    return parsed_files(monkeypatch)


def test_load_result_is_reference_with_row_count(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "ai_pipeline")
    source = csv(write(tmp_path / "a.csv", numbers(1, 15_000)))
    result = data_loader.load(store, source, data_loader.inspect(source))
    assert json.loads(json.dumps(result)) == result
    assert result["rows"] == 15_000
    assert result["message"] == "15000 records loaded"
    assert caplog.record_tuples == [("ai_pipeline.data_loader", 20, "15000 records loaded")]
    dataset = Dataset.load(store, result)
    assert dataset.stage == "loaded"
    assert [part.source for part in dataset.partitions] == ["a.csv"]


@pytest.mark.integration
def test_inspect_imports_no_heavy_library(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", numbers(1, 3))
    program = (
        "import sys; from ai_workflow.config.settings import *; from ai_workflow.stages import data_loader as d;"
        "d.inspect(CsvSource(kind='csv', path=sys.argv[1])); d.inspect(SampleSource(kind='sample'));"
        "d.inspect(SqlSource(kind='sql', table='t'));"
        "print([name for name in ('pandas', 'pyarrow', 'sklearn', 'numpy', 'sqlalchemy') if name in sys.modules])"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip() == "[]"


def test_repeated_load_reads_and_writes_no_files(store: Store, tmp_path: Path, reads: list[str]) -> None:
    source = csv(write(tmp_path / "a.csv", numbers(1, 100)), partition_rows=30)
    first, written = load(store, source), times(store)
    assert load(store, source) == first
    assert reads == ["a.csv"]
    assert times(store) == written
    assert [part.rows for part in first.partitions] == [30, 30, 30, 10]


def test_changed_or_new_file_reloads_only_affected_files(store: Store, tmp_path: Path, reads: list[str]) -> None:
    for name, last in (("a", 100), ("b", 200)):
        write(tmp_path / f"{name}.csv", numbers(last - 99, last))
    first, written = load(store, csv(tmp_path)), times(store)
    write(tmp_path / "b.csv", numbers(500, 600))
    write(tmp_path / "c.csv", numbers(300, 310))
    second = load(store, csv(tmp_path))
    assert sorted(reads) == ["a.csv", "b.csv", "b.csv", "c.csv"]
    assert second.partitions[0] == first.partitions[0]
    assert second.rows == 100 + 101 + 11
    assert written.items() <= times(store).items()


def test_appended_file_keeps_full_partitions(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", numbers(1, 100))
    first, written = load(store, csv(path, partition_rows=30)), times(store)
    write(path, numbers(1, 150))
    second = load(store, csv(path, partition_rows=30))
    assert second.partitions[:3] == first.partitions[:3]
    assert [part.rows for part in second.partitions] == [30] * 5
    assert written.items() <= times(store).items()


def test_renamed_file_reuses_partitions_under_new_source_name(store: Store, tmp_path: Path, reads: list[str]) -> None:
    path = write(tmp_path / "a.csv", numbers(1, 100))
    first = load(store, csv(path))
    path.rename(tmp_path / "b.csv")
    second = load(store, csv(tmp_path / "b.csv"))
    assert reads == ["a.csv"]
    assert [part.path for part in second.partitions] == [part.path for part in first.partitions]
    assert [part.source for part in second.partitions] == ["b.csv"]
    assert second.fingerprint != first.fingerprint


def test_changed_reader_options_reload_file(store: Store, tmp_path: Path, reads: list[str]) -> None:
    path = write(tmp_path / "a.csv", "a,b\n ? ,1\n")
    assert rows(store, csv(path)) == [(2, " ? ", "1")]
    assert rows(store, csv(path, missing=("?",), strip=True)) == [(2, None, "1")]
    assert len(reads) == 2


def test_only_damaged_or_missing_partitions_are_rewritten(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = csv(write(tmp_path / "a.csv", numbers(1, 100)), partition_rows=30)
    first, written = load(store, source), times(store)
    hurt, gone, *whole = [Path(part.path).name for part in first.partitions]
    store.local(f"data/loaded/{hurt}").write_bytes(b"PAR1 and rubbish")
    store.local(f"data/loaded/{gone}").unlink()
    assert load(store, source) == first
    assert "does not match its record" in caplog.text
    assert partition_cache.find_corrupt(store, data_loader.load(store, source, data_loader.inspect(source))) == []
    assert {name: times(store)[name] for name in whole} == {name: written[name] for name in whole}
    assert times(store)[hurt] != written[hurt]


def test_interrupted_load_keeps_written_partitions(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = csv(write(tmp_path / "a.csv", numbers(1, 100)), partition_rows=30)
    real = Store.writing
    calls: list[int] = []

    def killed(self: Store, path: str) -> Any:
        if len(calls) == 2 and path.endswith(".parquet"):
            raise KeyboardInterrupt
        calls.extend([1] * path.endswith(".parquet"))
        return real(self, path)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "writing", killed)
        with pytest.raises(KeyboardInterrupt):
            load(store, source)
    written = times(store)
    assert len(written) == 2
    assert store.names("data/datasets") == []
    assert load(store, source).rows == 100
    assert written.items() <= times(store).items()


def test_source_gives_equal_dataset_in_every_store(store: Store, tmp_path: Path) -> None:
    write(tmp_path / "in/a.csv", numbers(1, 100))
    write(tmp_path / "in/b.csv.gz", numbers(101, 200))
    assert load(store, csv(tmp_path / "in")) == load(Store(tmp_path / "other"), csv(tmp_path / "in"))


def test_load_works_with_url_store(tmp_path: Path) -> None:
    store = Store("memory://loader-store")
    source = csv(write(tmp_path / "a.csv", numbers(1, 100)), partition_rows=30)
    assert load(store, source) == load(store, source)
    assert len(rows(store, source)) == 100


def test_columns_are_reordered_like_first_file(store: Store, tmp_path: Path) -> None:
    write(tmp_path / "1.csv", "a,b,c\n1,2,3\n")
    write(tmp_path / "2.csv", "c,a,b\n6,4,5\n")
    assert rows(store, csv(tmp_path)) == [(2, "1", "2", "3"), (2, "4", "5", "6")]


def test_single_empty_file_logs_warning(store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "1.csv", "a,b\n")
    write(tmp_path / "2.csv", "a,b\n1,2\n")
    assert rows(store, csv(tmp_path)) == [(2, "1", "2")]
    assert any(record.levelname == "WARNING" and "1.csv has no rows" in record.message for record in caplog.records)


def test_all_files_empty_raises_error(store: Store, tmp_path: Path) -> None:
    write(tmp_path / "1.csv", "a,b\n")
    write(tmp_path / "2.csv", "a,b\n")
    assert "no rows: 1.csv, 2.csv" in refused(store, csv(tmp_path))


@pytest.mark.parametrize("kind", ["csv", "parquet", "sql"])
def test_source_without_rows_is_empty_dataset_with_columns_if_accepted(store: Store, tmp_path: Path, kind: str) -> None:
    frame = pd.DataFrame({"id": pd.Series([], dtype="str"), "age": pd.Series([], dtype="int64")})
    source: Any
    if kind == "csv":
        source = csv(write(tmp_path / "a.csv", "id,age\n"))
    elif kind == "parquet":
        frame.to_parquet(tmp_path / "a.parquet", index=False)
        source = parquet(tmp_path / "a.parquet")
    else:
        with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
            connection.execute("CREATE TABLE people (id TEXT, age INTEGER)")
        source = sql(f"sqlite:///{tmp_path}/a.db", table="people")
    inputs = data_loader.inspect(source)
    result = data_loader.load(store, source, inputs, accept_empty=True)
    assert (result["rows"], result["message"]) == (0, "0 records loaded")
    assert [column["name"] for column in Dataset.load(store, result).info["columns"]] == ["id", "age"]
    with pytest.raises(EmptySourceError, match="the source has no rows"):
        data_loader.load(store, source, inputs)


def test_malformed_row_in_last_file_names_file_and_row(store: Store, tmp_path: Path) -> None:
    write(tmp_path / "1.csv", "a,b\n1,2\n")
    write(tmp_path / "2.csv", "a,b\n1,2\n" * 50_000 + "1,2,3\n")
    assert "2.csv, row 100001: 2 columns expected, 3 found" in refused(store, csv(tmp_path, partition_rows=1000))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_file_changed_since_inspection_is_rejected(store: Store, tmp_path: Path, kind: str) -> None:
    if kind == "csv":
        source: Any = csv(write(tmp_path / "a.csv", numbers(1, 100)))
        after = numbers(1, 101).encode()
    else:
        path = write(tmp_path / "a.parquet", b"")
        samples = [load(store, sample(name)).partitions[0].path for name in ("iris", "wine")]
        import pyarrow.parquet as pq

        contents = []
        for each in samples:
            pq.write_table(pq.read_table(store.local(each)).drop_columns(["__row"]), path)
            contents.append(path.read_bytes())
        source, after = parquet(write(path, contents[0])), contents[1]
    inputs = data_loader.inspect(source)
    Path(source.path).write_bytes(after)
    before = store.names("data/datasets")
    with pytest.raises(StageError, match="changed while it was read"):
        data_loader.load(store, source, inputs)
    assert store.names("data/datasets") == before


@pytest.mark.integration
def test_file_growing_during_read_is_rejected(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_stream, "BLOCK", 1 << 12)
    path = write(tmp_path / "a.csv", numbers(1, 400_000))
    real = files.to_bytes

    def encode_and_grow(table: Any) -> bytes:
        with path.open("a") as file:
            file.write("7,x\n")
        return real(table)

    monkeypatch.setattr(files, "to_bytes", encode_and_grow)
    assert "changed while it was read" in refused(store, csv(path, partition_rows=1000, keep_copy=True))


def test_deleted_file_error_names_path(store: Store, tmp_path: Path) -> None:
    source = csv(write(tmp_path / "a.csv", numbers(1, 10)))
    inputs = data_loader.inspect(source)
    Path(source.path).unlink()
    with pytest.raises(StageError, match=r"a\.csv does not exist"):
        data_loader.load(store, source, inputs)


def test_load_reports_progress_per_file(store: Store, tmp_path: Path) -> None:
    for name in "ab":
        write(tmp_path / f"{name}.csv", numbers(1, 10))
    seen: list[tuple[int, int, str]] = []
    progress.set_receiver(lambda *step: seen.append(step))
    try:
        load(store, csv(tmp_path))
    finally:
        progress.set_receiver(None)
    assert seen == [(1, 2, "files, 10 rows"), (2, 2, "files, 20 rows")]


TABLES: dict[str, tuple[str, dict[str, Any], tuple[Any, ...]]] = {
    "numbers": ("1.24,0.875,0\n0.268,1.352,1\n", {}, (1, "1.24", "0.875", "0")),
    "quoted labels": ("0.23,5.0,'-1'\n0.15,-0.1,'1'\n", {"quote": "'"}, (1, "0.23", "5.0", "-1")),
    "codes": ("A11,6,A34\nA12,48,A32\n", {}, (1, "A11", "6", "A34")),
    "many missing": ("2,?,38.50\n1,1,39.2\n", {"missing": ("?",)}, (1, "2", None, "38.50")),
    "spaces": ("M, 0.455, 15\nF, ?, 7\n", {"strip": True, "missing": ("?",)}, (1, "M", "0.455", "15")),
}


@pytest.mark.parametrize("name", TABLES)
def test_headerless_archive_tables_are_loaded(store: Store, tmp_path: Path, name: str) -> None:
    text, options, first = TABLES[name]
    found = rows(store, csv(write(tmp_path / "a.data", text), header=False, **options))
    assert found[0] == first
    assert len(found) == 2


@pytest.mark.slow
def test_load_memory_is_bounded_by_partition_size(tmp_path: Path) -> None:
    line = "word," * 20 + "end\n"
    header = ",".join(f"c{number}" for number in range(21)) + "\n"
    program = (
        "import resource, sys; from ai_workflow.storage.store import Store;"
        "from ai_workflow.stages import data_loader as d;"
        "from ai_workflow.config.settings import CsvSource;"
        "s = CsvSource(kind='csv', path=sys.argv[1], partition_rows=20_000);"
        "d.load(Store(sys.argv[2]), s, d.inspect(s));"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )

    def peak(count: int) -> int:
        path = write(tmp_path / f"{count}.csv", header + line * count)
        command = [sys.executable, "-c", program, str(path), str(tmp_path / f"var-{count}")]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert peak(1_600_000) < 1.6 * peak(200_000)
