"""Rows that are read from the source file equal those of a copy in the store, and a changed file is noticed."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ai_workflow.config.settings import CsvSource, Settings
from ai_workflow.datasets import partition_cache, partitions
from ai_workflow.datasets.partitions import Dataset
from ai_workflow.datasets.text_ranges import parser
from ai_workflow.datasets.text_ranges.parser import Dialect
from ai_workflow.errors import StageError
from ai_workflow.runtime import partition_threads
from ai_workflow.sources import file_groups
from ai_workflow.sources.text_index import cuts, indexed_partitions, indexer, text_check
from ai_workflow.stages import data_loader, feature_engineering, preprocessor
from ai_workflow.storage.store import Store
from tests.sources.loading import csv, load, refused, rows, write

pytestmark = pytest.mark.integration

COMMAS = Dialect(3, ",", '"')
USUAL = ["1", "", "a b", '"a,b"', '"line\nline"', '"x ""y"" z"', "ä€", "?", " ? ", '""']
VALUES = [*USUAL, '"', 'in"ch', '"\r\n"', " ", '"\n\n"', "\0", "\t", "\ufeff", '"in\rch"']


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """An empty store, in a folder of its own."""
    return Store(tmp_path_factory.mktemp("var"))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Index files of any size, in small pieces."""
    monkeypatch.setattr(indexed_partitions, "MAX_FILE_BYTES", 0)
    monkeypatch.setattr(cuts, "PIECE_BYTES", 64)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of bytes that were parsed."""
    seen: list[int] = []
    real = parser.parse

    def parse(data: bytes, *rest: Any) -> Any:
        seen.append(len(data))
        return real(data, *rest)

    monkeypatch.setattr(parser, "parse", parse)
    return seen


def numbers(first: int, last: int, header: str = "id,word\n") -> str:
    return header + "".join(f"{number},w{number % 7}\n" for number in range(first, last + 1))


def is_indexed(dataset: Dataset) -> bool:
    """Return whether all rows are read from source files."""
    return all(part.place for part in dataset.partitions)


def generated(chance: random.Random) -> bytes:
    """Return a table with quotes, line feeds in values, and sometimes unusual or malformed text."""
    values = USUAL if chance.random() < 0.7 else VALUES
    end = chance.choice(["\n", "\r\n"] if chance.random() < 0.9 else ["\r"])
    lines = ["a,b,c"] + [",".join(chance.choices(values, k=3)) for _ in range(chance.randint(1, 30))]
    if chance.random() < 0.15:
        lines.insert(chance.randrange(1, len(lines)), chance.choice(["", " ", "1,2", "1,2,3,4"]))
    start = chance.choice(["", "", "\ufeff"])
    return (start + end.join(lines) + chance.choice(["", end])).encode()


def loaded_rows(store: Store, source: CsvSource) -> tuple[list[int], list[Any]] | str:
    """Return the sizes of the partitions and all rows, or the error."""
    try:
        dataset = load(store, source)
    except StageError as error:
        return str(error)
    tables = [partitions.table(store, part) for part in dataset.partitions]
    return [part.rows for part in dataset.partitions], [row for table in tables for row in table.to_pylist()]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("seed", range(4))
def test_indexed_rows_and_errors_equal_those_of_copy(store: Store, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    indexed = 0
    for number in range(25):
        data = generated(chance)
        options: dict[str, Any] = {
            "partition_rows": chance.choice([1, 3, 7, 100]),
            "missing": chance.choice([(), ("?", "1")]),
            "strip": chance.random() < 0.3,
        }
        path = write(tmp_path / f"{number}.csv", data)
        found = loaded_rows(store, csv(path, **options))
        assert found == loaded_rows(store, csv(path, keep_copy=True, **options)), data
        indexed += not isinstance(found, str) and is_indexed(load(store, csv(path, **options)))
    assert indexed > 8


FORMS = {
    "plain": lambda text: text,
    "CR LF": lambda text: text.replace(b"\n", b"\r\n"),
    "no final line end": lambda text: text.rstrip(b"\n"),
    "byte order mark": lambda text: b"\xef\xbb\xbf" + text,
}


def table() -> bytes:
    chance = random.Random(5)
    lines = ["id,age,note,city,good"]
    for number in range(700):
        age = chance.choice(["unknown", "?"]) if chance.random() < 0.02 else str(chance.randint(18, 80))
        note = chance.choice(['"two\nlines"', '"a ""b"""', "plain", '"x,y"', "ä"])
        lines.append(f"c{number},{age},{note},{chance.choice(['rome', 'oslo'])},{chance.choice(['yes', 'no'])}")
    return ("\n".join(lines) + "\n").encode()


def trees(store: Store, source: CsvSource) -> tuple[list[bytes], list[bytes], bytes]:
    """Return the files of clean rows, of features and of rejected rows."""
    settings = Settings.model_validate(
        {
            **{"pipeline": "p", "task": "classification", "target": "good", "id": "id", "reject_limit": 0.5},
            **{"source": source.model_dump(mode="json"), "schema": {"age": {"type": "integer", "nullable": True}}},
        }
    )
    loaded = data_loader.load(store, source, data_loader.inspect(source))
    clean = preprocessor.preprocess(store, loaded, preprocessor.RowRules.of(settings))
    roles = feature_engineering.ColumnRoles.of(settings)
    featured = feature_engineering.fit(store, clean, roles, settings.features)
    files = [[store.read(part.path) for part in Dataset.load(store, each).partitions] for each in (clean, featured)]
    assert clean["quarantine"]
    return files[0], files[1], store.read(clean["quarantine"]["path"])


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("form", FORMS)
def test_clean_rows_features_and_quarantine_equal_those_of_copy(store: Store, tmp_path: Path, form: str) -> None:
    path = write(tmp_path / "a.csv", FORMS[form](table()))
    source = csv(path, partition_rows=250, missing=("?",))
    found = trees(store, source)
    assert len(found[0]) == 3
    assert found == trees(Store(f"{store.root}/copy"), source.model_copy(update={"keep_copy": True}))
    assert is_indexed(load(store, source))
    assert not [name for name in store.names("data/loaded") if name.endswith(".parquet")]


@pytest.mark.usefixtures("small")
def test_grown_file_is_parsed_from_where_it_grew(store: Store, tmp_path: Path, parsed: list[int]) -> None:
    path = write(tmp_path / "a.csv", numbers(1, 9_000))
    load(store, csv(path, partition_rows=1350))
    assert sum(parsed) > path.stat().st_size
    before = path.stat().st_size
    with path.open("a") as file:
        file.write(numbers(9_001, 9_100, header=""))
    parsed.clear()
    grown = load(store, csv(path, partition_rows=1350))
    # The header is parsed again, and the part of a piece that completes a partition is parsed twice.
    assert sum(parsed) <= 2 * (path.stat().st_size - before) + 100
    fresh = load(Store(f"{store.root}/fresh"), csv(path, partition_rows=1350))
    assert grown.fingerprint == fresh.fingerprint
    assert [part.rows for part in grown.partitions] == [1350] * 6 + [1000]
    expected = rows(store, csv(path, keep_copy=True, partition_rows=1350))
    assert [tuple(row.values()) for p in grown.partitions for row in partitions.table(store, p).to_pylist()] == expected


@pytest.mark.usefixtures("small")
def test_number_of_threads_changes_no_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", table())
    folders = [tmp_path / f"{threads} threads" for threads in (1, 2, 4)]
    for folder, threads in zip(folders, (1, 2, 4), strict=True):
        assert is_indexed(partition_threads.call(threads, load, Store(folder), csv(path, partition_rows=90)))
    found = [
        {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        for folder in folders
    ]
    assert len(found[0]) > 8
    assert found[0] == found[1] == found[2]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("more", ["5\n6,x\n", '"\n6,x\n', "\n6,x\n", ",7\n"])
def test_last_line_without_line_end_may_continue(store: Store, tmp_path: Path, more: str) -> None:
    path = write(tmp_path / "a.csv", "a,b\n1,2\n3,4")
    load(store, csv(path))
    with path.open("a") as file:
        file.write(more)
    found = loaded_rows(store, csv(path))
    assert found == loaded_rows(store, csv(path, keep_copy=True))


@pytest.mark.usefixtures("small")
def test_killed_load_parses_only_unfinished_partitions_again(
    store: Store, tmp_path: Path, parsed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = csv(write(tmp_path / "a.csv", numbers(1, 10_000)), partition_rows=1000)
    real = indexer._Records.save
    saved: list[int] = []

    def killed(self: Any, indexed: Any) -> None:
        if len(saved) == 8:
            raise KeyboardInterrupt
        saved.append(indexed["rows"])
        real(self, indexed)

    with monkeypatch.context() as patch:
        patch.setattr(indexer._Records, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            load(store, source)
    assert store.names("data/datasets") == []
    parsed.clear()
    assert load(store, source).rows == 10_000
    assert sum(parsed) < 0.5 * Path(source.path).stat().st_size


@pytest.mark.usefixtures("small")
def test_repeated_load_parses_nothing(store: Store, tmp_path: Path, parsed: list[int]) -> None:
    source = csv(write(tmp_path / "a.csv", numbers(1, 500)), partition_rows=200)
    first = load(store, source)
    parsed.clear()
    assert load(store, source) == first
    assert not parsed


@pytest.mark.usefixtures("small")
def test_moved_file_has_same_fingerprint_and_is_read_where_it_is(
    store: Store, tmp_path: Path, parsed: list[int]
) -> None:
    path = write(tmp_path / "one/a.csv", numbers(1, 500))
    first = data_loader.load(store, csv(path), data_loader.inspect(csv(path)))
    moved = tmp_path / "two/a.csv"
    moved.parent.mkdir()
    path.rename(moved)
    assert partition_cache.find_corrupt(store, first) == [str(path)]
    parsed.clear()
    second = data_loader.load(store, csv(moved), data_loader.inspect(csv(moved)))
    assert not parsed
    assert second["fingerprint"] == first["fingerprint"]
    assert second["record"] != first["record"]
    assert partition_cache.find_corrupt(store, second) == []
    assert len(rows(store, csv(moved))) == 500


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    "change", [lambda text: text.replace("3,w3", "4,w4"), lambda text: text.replace(",", ";"), lambda text: text[:99]]
)
def test_file_changed_after_load_is_an_error_that_names_it(store: Store, tmp_path: Path, change: Any) -> None:
    source = csv(write(tmp_path / "a.csv", numbers(1, 100)))
    result = data_loader.load(store, source, data_loader.inspect(source))
    write(tmp_path / "a.csv", change(numbers(1, 100)))
    (part,) = Dataset.load(store, result).partitions
    with pytest.raises(StageError, match=r"a\.csv has changed since it was loaded, .*Run the pipeline again"):
        partitions.table(store, part)
    with pytest.raises(StageError, match="has changed since it was loaded"):
        list(partitions.table_slices(store, part, 10))
    assert partition_cache.find_corrupt(store, result) == [str(tmp_path / "a.csv")]


@pytest.mark.usefixtures("small")
def test_file_grown_after_load_is_still_read(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", numbers(1, 100))
    dataset = load(store, csv(path))
    write(path, numbers(1, 101))
    assert partitions.table(store, dataset.partitions[0]).num_rows == 100


@pytest.mark.usefixtures("small")
def test_file_removed_after_load_is_an_error_with_remedy(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", numbers(1, 100))
    dataset = load(store, csv(path))
    path.unlink()
    with pytest.raises(StageError, match=r"a\.csv was loaded and does not exist any more. Run .*source\.keep_copy"):
        partitions.read(store, dataset.partitions[0])


@pytest.mark.usefixtures("small")
def test_file_changed_while_it_is_indexed_is_rejected(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", numbers(1, 100))
    inputs = data_loader.inspect(csv(path))
    write(path, numbers(1, 101))
    with pytest.raises(StageError, match="changed while it was read"):
        data_loader.load(store, csv(path), inputs)


@pytest.mark.usefixtures("small")
def test_file_growing_while_it_is_indexed_is_rejected(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.csv", numbers(1, 100))
    real = indexer._Records.save

    def save_and_grow(self: Any, indexed: Any) -> None:
        with path.open("a") as file:
            file.write("7,x\n")
        real(self, indexed)

    monkeypatch.setattr(indexer._Records, "save", save_and_grow)
    assert "changed while it was read" in refused(store, csv(path, partition_rows=30))


@pytest.mark.usefixtures("small")
def test_columns_of_folders_absent_and_dropped_columns(store: Store, tmp_path: Path) -> None:
    write(tmp_path / "in/country=de/1.csv", "a,b,c,d\n1,?,3,4\n")
    write(tmp_path / "in/country=?/2.csv", "c,a\n6,4\n")
    options: dict[str, Any] = {"missing": ("?",), "drop": ("b",)}
    found = load(store, csv(tmp_path / "in", **options))
    assert is_indexed(found)
    assert rows(store, csv(tmp_path / "in", **options)) == [(2, "6", "4", None, None), (2, "3", "1", "de", "4")]
    copy = csv(tmp_path / "in", keep_copy=True, **options)
    assert rows(store, copy) == rows(store, csv(tmp_path / "in", **options))
    assert found.info == load(store, copy).info


@pytest.mark.usefixtures("small")
def test_selected_columns_and_slices(store: Store, tmp_path: Path) -> None:
    (part,) = load(store, csv(write(tmp_path / "a.csv", numbers(1, 95)))).partitions
    table = partitions.table(store, part, ["word", "none", "__row"])
    assert set(table.column_names) == {"__row", "word"}
    assert table["__row"].to_pylist() == list(range(2, 97))
    assert partitions.table(store, part, ["__row"]).num_rows == 95
    slices = list(partitions.table_slices(store, part, 10))
    assert max(each.num_rows for each in slices) <= 10
    assert pa.concat_tables(slices).equals(partitions.table(store, part))


UNUSUAL = {
    "blank line": b"a,b,c\n1,2,3\n\n4,5,6\n",
    "short row": b"a,b,c\n1,2,3\n4,5\n",
    "long row": b"a,b,c\n1,2,3,4\n",
    "open quote": b'a,b,c\n1,2,"3\n',
    "NUL": b"a,b,c\n1,\0,3\n",
    "bad byte": b"a,b,c\n1,\xe9,3\n",
    "blank first line": b"\na,b,c\n1,2,3\n",
    "line of spaces": b"a,b,c\n1,2,3\n \n",
    "CR only": b"a,b,c\r1,2,3\r",
    "one column": b"a\n1\n",
    "UTF-16": "a,b\n1,2\n".encode("utf-16"),
}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", UNUSUAL)
def test_unusual_text_is_read_or_refused_as_with_copy(store: Store, tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "a.csv", UNUSUAL[name])
    found = loaded_rows(store, csv(path))
    assert found == loaded_rows(store, csv(path, keep_copy=True))
    assert isinstance(found, str) or not is_indexed(load(store, csv(path)))


def test_small_file_and_file_in_temporary_clone_are_copied(store: Store, tmp_path: Path) -> None:
    large = numbers(1, file_groups.MAX_FILE_BYTES // 8)
    assert is_indexed(load(store, csv(write(tmp_path / "large.csv", large))))
    assert not is_indexed(load(store, csv(write(tmp_path / "large.csv", large), keep_copy=True)))
    assert not is_indexed(load(store, csv(write(tmp_path / "tmpab12cd34prefect/large.csv", large))))
    assert not is_indexed(load(store, csv(write(tmp_path / "small.csv", numbers(1, 10)))))


@pytest.mark.usefixtures("small")
def test_key_of_rows_is_independent_of_place(store: Store, tmp_path: Path) -> None:
    paths = [write(tmp_path / name, numbers(1, 50)) for name in ("one/a.csv", "two/b.csv")]
    first, second = (load(store, csv(path)).partitions[0] for path in paths)
    assert first.sha256 == second.sha256
    assert first.place != second.place
    other = load(store, csv(paths[0], missing=("1",))).partitions[0]
    assert other.sha256 != first.sha256


def test_unknown_option_of_source_needs_sequential_reader() -> None:
    class Source(CsvSource):
        another: int = 0

    assert text_check.is_supported(Source(kind="csv", path="a", delimiter=";"))
    assert not text_check.is_supported(Source(kind="csv", path="a", another=1))


@pytest.mark.parametrize("size", [13, 64, 1 << 20])
def test_pieces_cover_file_and_end_with_rows(size: int) -> None:
    data = b'a,b,c\n1,"x\ny",2\n3,"""\n""",4\n5,6,7'
    pieces = list(cuts.pieces(io.BytesIO(data), b'"', size))
    assert b"".join(pieces) == data
    assert all(piece.endswith(b"\n") for piece in pieces[:-1])
    assert all(piece.count(b'"') % 2 == 0 for piece in pieces)


def test_columns_are_text() -> None:
    assert parser.parse(b"1,2,3\n", COMMAS, [0, 2], [""]).schema.types == [pa.string()] * 2
