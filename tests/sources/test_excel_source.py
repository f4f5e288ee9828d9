"""What an Excel source promises: typed cells, the row numbers that Excel shows, one clear error for a bad workbook."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from ai_workflow.config.settings import ExcelSource
from ai_workflow.sources.typed_files import excel_source
from ai_workflow.stages import data_loader
from ai_workflow.storage.store import Store
from tests.semantics.in_process_service import Door
from tests.semantics.pipeline import TARGET, Pipeline
from tests.sources.loading import csv, load, refused, rows, write
from tests.sources.workbooks import Raw, workbook

DAY, MOMENT = datetime(2024, 1, 2), datetime(2024, 1, 2, 3, 4, 5)  # noqa: DTZ001 - Excel has no time zones
ERROR = Raw('<c r="REF" t="e"><v>#N/A</v></c>')
FORMULA = Raw('<c r="REF"><f>A2*2</f><v>84</v></c>')
UNCALCULATED = Raw('<c r="REF"><f>A2*2</f></c>')


def excel(path: object, **options: Any) -> ExcelSource:
    return ExcelSource(kind="excel", path=str(path), **options)


def kinds(store: Store, source: ExcelSource) -> dict[str, str]:
    return {column["name"]: column["type"] for column in load(store, source).info["columns"]}


def test_cells_keep_their_types(store: Store, tmp_path: Path) -> None:
    header = ["i", "n", "b", "s", "d", "t", "f"]
    table = [header, [42, 2.5, True, "007", DAY, MOMENT, FORMULA], [1.0, 3, False, "x", DAY, DAY, 7]]
    source = excel(write(tmp_path / "a.xlsx", workbook(Data=table)))
    assert kinds(store, source) == {
        "i": "integer", "n": "number", "b": "boolean", "s": "string", "d": "datetime", "t": "datetime", "f": "integer"
    }  # fmt: skip
    assert rows(store, source) == [
        (2, 42, 2.5, True, "007", DAY, MOMENT, 84),
        (3, 1, 3.0, False, "x", DAY, DAY, 7),
    ]


def test_empty_cells_errors_and_formulas_without_value_are_missing(store: Store, tmp_path: Path) -> None:
    table = [["a", "b", "c"], [1, ERROR, "x"], [None, 2, UNCALCULATED], [3, 4, ""]]
    found = rows(store, excel(write(tmp_path / "a.xlsx", workbook(Data=table))))
    assert found == [(2, 1, None, "x"), (3, None, 2, None), (4, 3, 4, None)]


def test_blank_rows_are_left_out_and_counted(store: Store, tmp_path: Path) -> None:
    table = [[], ["a", "b"], [1, 2], [None, None], [], [3, 4]]
    assert rows(store, excel(write(tmp_path / "a.xlsx", workbook(Data=table)))) == [(3, 1, 2), (6, 3, 4)]


def test_column_of_mixed_types_is_text(store: Store, tmp_path: Path) -> None:
    table = [["a", "b"], [1, DAY], ["x", MOMENT], [2.5, "y"], [True, None]]
    found = rows(store, excel(write(tmp_path / "a.xlsx", workbook(Data=table))))
    assert found == [(2, "1", "2024-01-02"), (3, "x", "2024-01-02 03:04:05"), (4, "2.5", "y"), (5, "true", None)]


def test_declared_sheet_rows_and_names_are_used(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "a.xlsx", workbook(One=[["a"], [1]], Two=[["Title"], ["b", "c"], [2, 3]]))
    assert rows(store, excel(path, sheet="Two", skip_rows=1)) == [(3, 2, 3)]
    source = excel(path, sheet="One", skip_rows=1, header=False, columns=("x",))
    assert (kinds(store, source), rows(store, source)) == ({"x": "integer"}, [(2, 1)])


def test_only_sheet_with_rows_is_read(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "a.xlsx", workbook(Empty=[], Data=[["a"], [1]]))
    assert rows(store, excel(path)) == [(2, 1)]


def test_numbers_in_the_header_are_names(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "a.xlsx", workbook(Data=[["k", 2023, DAY, None], [1, 2, 3, None]]))
    assert list(kinds(store, excel(path))) == ["k", "2023", "2024-01-02"]


def test_first_column_without_name_is_the_index(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "a.xlsx", workbook(Data=[[None, "a"], [0, "x"], [1, "y"]]))
    assert list(kinds(store, excel(path))) == ["Unnamed: 0", "a"]


def test_files_of_a_folder_are_merged(store: Store, tmp_path: Path) -> None:
    write(tmp_path / "in/a.xlsx", workbook(Data=[["a", "b"], [1, "x"]]))
    write(tmp_path / "in/b.xlsx", workbook(Data=[["b", "a"], [2, 1.5]]))
    assert rows(store, excel(tmp_path / "in", drop=("c",))) == [(2, 1.0, "x"), (2, 1.5, "2")]


def test_file_that_was_read_before_is_not_parsed_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.xlsx", workbook(Data=[["a"], [1]]))
    first = load(store, excel(path))
    monkeypatch.setattr(excel_source, "_workbook", None)
    assert load(store, excel(path)) == first


def test_missing_extra_is_named(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    text = refused(store, excel(write(tmp_path / "a.xlsx", workbook(Data=[["a"], [1]]))))
    assert "python-calamine" in text
    assert "pip install -e '.[excel]'" in text


GOOD = workbook(Data=[["a", "b"], [1, 2]])


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        (GOOD[:200], {}, ["damaged or no Excel workbook"]),
        (b"a,b\n1,2\n", {}, ["no Excel workbook", "source.kind: csv"]),
        (GOOD, {"sheet": "data"}, ["no sheet 'data', only 'Data'", "source.sheet"]),
        (workbook(A=[["a"], [1]], B=[["b"], [1]]), {}, ["several sheets: 'A', 'B'", 'source.sheet: "A"']),
        (workbook(A=[]), {}, ["no sheet with rows"]),
        (GOOD, {"skip_rows": 9}, ["only blank rows", "source.skip_rows"]),
        (workbook(A=[["Sales"], ["a", "b"], [1, 2]]), {}, ["row 2 seems to be the header: a, b", "skip_rows: 1"]),
        (workbook(A=[["a", None, "c"], [1, 2, 3]]), {}, ["sheet 'A', header: column 2 has no name"]),
        (workbook(A=[["a", "a"], [1, 2]]), {}, ["more than one column is named 'a'"]),
        (GOOD, {"header": False, "columns": ("x",)}, ["has 2 columns, source.columns names 1"]),
        (workbook(A=[["a", "b"]]), {}, ["has no rows"]),
    ],
)  # fmt: skip
def test_unreadable_workbook_raises_single_clear_error(
    store: Store, tmp_path: Path, content: bytes, options: dict[str, Any], said: list[str]
) -> None:
    text = refused(store, excel(write(tmp_path / "bad.xlsx", content), **options))
    assert "bad.xlsx" in text
    for part in said:
        assert part in text


def test_workbook_as_csv_names_the_kind(store: Store, tmp_path: Path) -> None:
    assert "source.kind: excel" in refused(store, csv(write(tmp_path / "a.csv", GOOD)))


def test_changed_workbook_is_rejected(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "a.xlsx", GOOD)
    inputs = data_loader.inspect(excel(path))
    write(path, workbook(Data=[["a", "b"], [3, 4]]))
    with pytest.raises(Exception, match="changed while it was read"):
        data_loader.load(store, excel(path), inputs)


@pytest.mark.integration
def test_cells_score_equally_in_batch_and_http(tmp_path: Path) -> None:
    table = [
        [20 + n * 7 % 50, [1, 2.5, "x"][n % 3], n % 2 == 0, n / 7 if n % 9 else None, ("poor", "rich")[n % 50 > 20]]
        for n in range(90)
    ]  # fmt: skip
    names = ["age", "code", "member", "income", TARGET]
    write(tmp_path / "a.xlsx", workbook(Data=[names, *table]))
    schema = {"code": {"type": "category"}, "income": {"type": "number", "nullable": True}}
    pipeline = Pipeline(tmp_path, {"kind": "excel", "path": "a.xlsx"}, schema)
    pipeline.has_process = False
    # Rows are numbered as Excel does, and `batch` subtracts 1 from those of other sources than CSV.
    expected = {row - 1: answer for row, answer in pipeline.batch(pipeline.settings.source).answers.items()}
    sent = [dict(zip(names[:-1], row[:-1], strict=True)) for row in table]
    with Door(pipeline) as door:
        assert door.predict(sent).answers == expected
