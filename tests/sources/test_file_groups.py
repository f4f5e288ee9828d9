"""Small files share partitions; each row keeps the name of its file, and a new file changes one group."""

from __future__ import annotations

import hashlib
import io
import itertools
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ai_workflow.datasets import partitions
from ai_workflow.datasets.partitions import SOURCE, Dataset
from ai_workflow.errors import StageError
from ai_workflow.features.row_rules import RowRules
from ai_workflow.quality import labels
from ai_workflow.quality.label_reader import LabelReader
from ai_workflow.runtime import partition_threads
from ai_workflow.sources import csv_source, file_groups
from ai_workflow.sources.file_columns import FileColumns
from ai_workflow.sources.input_files import InputFile
from ai_workflow.sources.text_index import whole_files
from ai_workflow.sources.text_index.whole_files import FileReader
from ai_workflow.stages import data_loader, feature_engineering, inference, preprocessor
from ai_workflow.storage.store import Store
from tests.sources.loading import csv, load, parsed_files, refused, write
from tests.stages.tables import Made, Pipeline, parted, people, rows, settings

pytestmark = pytest.mark.integration

COUNT = file_groups.MIN_FILES + 3


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """An empty store, in a folder of its own."""
    return Store(tmp_path_factory.mktemp("var"))


@pytest.fixture(scope="module")
def bought(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A published classifier."""
    store = Store(tmp_path_factory.mktemp("bought"))
    return Pipeline(store, settings()).publish(*parted(people().drop(columns="spent"), 3))


def input_file(number: int, size: int = 100) -> InputFile:
    name = f"f{number:04d}.csv"
    return InputFile(name, f"/in/{name}", hashlib.sha256(str(number).encode()).hexdigest(), size)


def small_files(folder: Path, count: int = COUNT, each: int = 10) -> Path:
    for number in range(count):
        lines = [f"{number},{number * each + row},{'yes' if row % 2 else 'no'}" for row in range(each)]
        write(folder / f"f{number:03d}.csv", "\n".join(["file,value,y", *lines, ""]))
    return folder


def unusual_files(folder: Path) -> Path:
    """Write small files in many forms, some of which only the sequential reader reads."""
    texts = {
        "blank line": "file,value,y\n1,2,no\n\n3,4,yes\n",
        "CR LF": "file,value,y\r\n1,2,no\r\n3,4,yes\r\n",
        "CR": "file,value,y\r1,2,no\r3,4,yes\r",
        "byte order mark": "\ufefffile,value,y\n1,2,no\n",
        "missing": 'file,value,y\n1,,no\n ,"",NA\n',
        "no line end": "file,value,y\n1,2,no",
        "no rows": "file,value,y\n",
        "other columns": "file,extra\n7,x\n",
        "quotes": 'file,value,y\n1,"2\n\n3",no\n"a,b","x ""y""",in"ch\n',
        "quoted header": '"file","value","y"\n1,2,no\n',
        "spaces": "file, value ,y\n 1 , 2,\tno\n",
        "folder=x/folder": "file,value,y\n1,2,no\n",
    }
    for name, text in texts.items():
        write(folder / f"{name}.csv", text)
    return small_files(folder)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def clean(store: Store, folder: Path, **changes: Any) -> Any:
    source = csv(folder)
    loaded = data_loader.load(store, source, data_loader.inspect(source))
    rules = RowRules.of(settings(**{"id": None, "target": "y", "reject_limit": 1.0, **changes}))
    return preprocessor.preprocess(store, loaded, rules)


def test_few_files_are_not_grouped() -> None:
    files = [input_file(number) for number in range(file_groups.MIN_FILES - 1)]
    assert list(file_groups.split(files)) == [(file,) for file in files]


def test_large_file_is_group_of_its_own_and_order_is_kept() -> None:
    files = [input_file(number, 2 << 20 if number == 7 else 100) for number in range(COUNT)]
    groups = list(file_groups.split(files))
    assert list(itertools.chain(*groups)) == files
    assert (files[7],) in groups


def test_group_size_in_bytes_is_limited() -> None:
    files = [input_file(number, 1 << 20) for number in range(1000)]
    assert max(len(group) for group in file_groups.split(files)) == 16


@pytest.mark.parametrize("position", [0, 333, 999])
def test_inserted_or_removed_file_changes_one_group(position: int) -> None:
    files = [input_file(number) for number in range(1000)]
    before = set(file_groups.split(files))
    assert 8 < len(before) < 40
    for changed in ([*files[:position], input_file(5000), *files[position:]], files[:position] + files[position + 1 :]):
        after = set(file_groups.split(changed))
        assert 1 <= len(after - before) <= 2
        assert sum(len(group) for group in after & before) > 700


def test_rows_of_group_name_their_file_and_row(store: Store, tmp_path: Path) -> None:
    dataset = load(store, csv(small_files(tmp_path)))
    assert dataset.rows == COUNT * 10
    assert len(dataset.partitions) < COUNT / 4
    frame = pd.concat([frame for _, frame in partitions.frames(store, dataset)])
    assert frame[SOURCE].tolist() == [f"f{int(number):03d}.csv" for number in frame["file"]]
    assert frame["value"].astype(int).tolist() == list(range(COUNT * 10))
    assert frame["__row"].tolist() == list(range(2, 12)) * COUNT


@pytest.mark.parametrize("options", [{}, {"strip": True}, {"drop": ("value",)}, {"missing": ("2", "no")}])
def test_files_parsed_at_once_equal_those_read_in_sequence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    source = csv(unusual_files(tmp_path / "in"), **options)
    at_once = load(Store(tmp_path / "a"), source)
    assert any(part.rows for part in at_once.partitions)
    with monkeypatch.context() as patch:
        patch.setattr(whole_files, "MAX_FILE_BYTES", -1)
        assert load(Store(tmp_path / "b"), source) == at_once
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")


def test_file_that_grows_after_inspection_is_an_error(store: Store, tmp_path: Path) -> None:
    source = csv(small_files(tmp_path))
    inputs = data_loader.inspect(source)
    with (tmp_path / "f003.csv").open("a") as file:
        file.write("9,9,no\n")
    with pytest.raises(StageError, match=r"f003\.csv changed while it was read"):
        data_loader.load(store, source, inputs)


def test_short_reads_of_a_file_give_all_of_it() -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 0, 3))

    assert whole_files._read(Slow(b"0123456789"), 11) == b"0123456789"
    assert whole_files._read(Slow(b"0123456789"), 7) == b"0123456"


def test_usual_files_are_parsed_at_once(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_files(tmp_path)
    monkeypatch.delattr(csv_source, "read")
    assert load(store, csv(tmp_path)).rows == COUNT * 10


def test_number_of_threads_changes_no_file(tmp_path: Path) -> None:
    source = csv(small_files(tmp_path / "in", 200, 3))
    for threads in (1, 2, 4):
        loaded = partition_threads.call(threads, load, Store(tmp_path / str(threads)), source)
        assert len(loaded.partitions) > 2
    assert files_of(tmp_path / "1") == files_of(tmp_path / "2") == files_of(tmp_path / "4")


def test_error_in_group_is_that_of_first_malformed_file(store: Store, tmp_path: Path) -> None:
    small_files(tmp_path, 300, 2)
    for number in (40, 160, 290):
        write(tmp_path / f"f{number:03d}.csv", "file,value,y\n1,2,3,4\n")
    assert "f040.csv, row 2: 3 columns expected, 4 found" in refused(store, csv(tmp_path))


@pytest.mark.integration
def test_partition_rows_limits_partitions_of_groups(store: Store, tmp_path: Path) -> None:
    small_files(tmp_path)
    whole, split = load(store, csv(tmp_path)), load(store, csv(tmp_path, partition_rows=25))
    assert max(part.rows for part in split.partitions) == 25
    frames = [[frame for _, frame in partitions.frames(store, dataset)] for dataset in (whole, split)]
    pd.testing.assert_frame_equal(*(pd.concat(each, ignore_index=True) for each in frames))


@pytest.mark.integration
def test_new_file_is_read_with_its_group_only(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_files(tmp_path, 300, 2)
    seen = parsed_files(monkeypatch)
    first = load(store, csv(tmp_path))
    assert len(seen) == 300
    seen.clear()
    assert load(store, csv(tmp_path)) == first
    assert seen == []
    write(tmp_path / "f150b.csv", "file,value,y\n1,2,no\n")
    second = load(store, csv(tmp_path))
    assert second.rows == first.rows + 1
    assert "f150b.csv" in seen
    assert len(seen) < 250
    assert len(set(second.partitions) - set(first.partitions)) <= 2


def test_group_reports_empty_and_malformed_files(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(small_files(tmp_path) / "f005.csv", "file,value,y\n")
    for _ in range(2):
        caplog.clear()
        assert load(store, csv(tmp_path)).rows == COUNT * 10 - 10
        assert [record.message for record in caplog.records if "no rows" in record.message] == [
            f"{tmp_path}/f005.csv has no rows"
        ]
    write(tmp_path / "f004.csv", "file,value,y\n1,2,no\n1,2\n")
    assert "f004.csv, row 3: 3 columns expected, 2 found" in refused(Store(tmp_path / "var"), csv(tmp_path))


def test_interrupted_group_gives_equal_dataset(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = csv(small_files(tmp_path), partition_rows=25)
    expected = load(Store(tmp_path / "other"), source)
    real = Store.write
    written: list[str] = []

    def killed(self: Store, path: str, data: bytes) -> Any:
        if len(written) == 3 and path.endswith(".parquet"):
            raise KeyboardInterrupt
        written.extend([path] * path.endswith(".parquet"))
        return real(self, path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            load(store, source)
    assert load(store, source) == expected


def test_memory_shortage_in_group_halves_partitions(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_files(tmp_path, each=200)
    real = FileReader.tables
    failed: list[str] = []

    def short(reader: FileReader, columns: FileColumns) -> Any:
        yield from real(reader, columns)
        if not failed:
            failed.append(columns.file.name)
            raise MemoryError

    monkeypatch.setattr(FileReader, "tables", short)
    assert load(store, csv(tmp_path, partition_rows=4000)).rows == COUNT * 200
    assert failed


def test_quarantine_and_row_ids_name_file_and_row(store: Store, tmp_path: Path) -> None:
    small_files(tmp_path)
    for name in ("f003", "f004"):
        write(tmp_path / f"{name}.csv", "file,value,y\n9,1,no\n9,many,yes\n")
    result = clean(store, tmp_path, schema={"value": {"type": "number"}})
    lines = pd.read_csv(store.local(result["quarantine"]["path"]))
    assert lines[["source", "row", "value"]].values.tolist() == [["f003.csv", 3, "many"], ["f004.csv", 3, "many"]]
    assert result["rejected"] == 2
    ids = rows(store, result)["__id"].tolist()
    assert len(set(ids)) == len(ids) == COUNT * 10 - 20 + 2
    assert {"f000.csv:2", "f003.csv:2", "f004.csv:2"} <= set(ids)
    assert SOURCE not in Dataset.load(store, result).info["schema"]


def test_duplicate_rows_of_two_files_are_found_and_named(store: Store, tmp_path: Path) -> None:
    small_files(tmp_path)
    write(tmp_path / "f007.csv", "file,value,y\n6,60,no\n")
    result = clean(store, tmp_path, deduplicate="rows")
    lines = pd.read_csv(store.local(result["duplicate_rows"]["path"]))
    assert lines[["source", "row", "reason"]].values.tolist() == [["f007.csv", 2, "repeats an earlier row"]]


@pytest.mark.slow
def test_predictions_for_small_files_have_unique_ids_and_own_source(bought: Made, tmp_path: Path) -> None:
    for number, frame in enumerate(parted(people(200, seed=5).drop(columns=["bought", "spent"]), COUNT)):
        frame.to_csv(tmp_path / f"f{number:03d}.csv", index=False)
    store, source = bought.pipeline.store, csv(tmp_path)
    loaded = data_loader.load(store, source, data_loader.inspect(source))
    rules = preprocessor.RowRules.of_spec(bought.spec, bought.pipeline.settings)
    featured = feature_engineering.apply(store, preprocessor.preprocess(store, loaded, rules), bought.spec)
    scored = rows(store, inference.predict(store, featured, bought.scoring()))
    assert scored["prediction_id"].is_unique
    assert scored["source"].nunique() > file_groups.MIN_FILES
    assert scored.groupby("source")["row"].min().eq(2).all()
    whole = tmp_path / "one" / "all.csv"
    whole.parent.mkdir()
    people(200, seed=5).drop(columns=["bought", "spent"]).to_csv(whole, index=False)
    loaded = data_loader.load(store, csv(whole), data_loader.inspect(csv(whole)))
    featured = feature_engineering.apply(store, preprocessor.preprocess(store, loaded, rules), bought.spec)
    at_once = rows(store, inference.predict(store, featured, bought.scoring()))
    assert at_once[["id", "score"]].values.tolist() == scored[["id", "score"]].values.tolist()


def test_label_errors_name_file_of_row() -> None:
    frame = pd.DataFrame({"__row": [2, 2], SOURCE: ["a.csv", "b.csv"], "id": ["x", "y"], "label": ["1", "many"]})
    frame["time"] = ["2024-01-01", "soon"]
    reader = LabelReader([], is_number=True)
    columns = labels.LabelColumns("id", "label", None, True)
    _, rejects = labels.of_frame(frame, columns, "a.csv to b.csv", reader)
    assert rejects.first.startswith("b.csv, row 2: ")
    with pytest.raises(StageError, match=r"^b\.csv, row 2: column 'time'"):
        labels.of_frame(frame, labels.LabelColumns("id", "label", "time", True), "a.csv to b.csv", reader)
