"""An index that pandas writes is no feature: its column is left out with a warning, unless it is declared."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ai_workflow.datasets.partitions import Dataset
from ai_workflow.errors import StageError
from ai_workflow.stages import data_loader, preprocessor
from ai_workflow.stages.preprocessor import RowRules
from ai_workflow.storage.store import Store
from tests.semantics.in_process_service import Door
from tests.semantics.pipeline import TARGET, Pipeline
from tests.stages.tables import settings

pytestmark = pytest.mark.integration

ROWS = 40


def table(**columns: list[Any]) -> pd.DataFrame:
    ages = [20 + number * 7 % 50 for number in range(ROWS)]
    return pd.DataFrame({**columns, "age": ages, TARGET: [("poor", "rich")[age > 44] for age in ages]})


def shuffled(count: int = ROWS) -> list[int]:
    return random.Random(1).sample(range(10 * count), count)


def clean(store: Store, *paths: Path, **changes: Any) -> dict[str, Any]:
    source = {"kind": "csv", "path": str(paths[0])}
    made = settings(**{"source": source, "target": TARGET, "id": None, **changes})
    source = made.reading(made.source)
    inputs = [each for path in paths for each in data_loader.inspect(source.model_copy(update={"path": str(path)}))]
    return preprocessor.preprocess(store, data_loader.load(store, source, inputs), RowRules.of(made))


def columns(store: Store, result: dict[str, Any]) -> list[str]:
    return list(Dataset.load(store, result).info["schema"])


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "Unnamed: 0.1"])
@pytest.mark.parametrize("values", [list(range(ROWS)), list(range(7, ROWS + 7)), shuffled()])
def test_index_column_is_left_out_with_warning(store: Store, tmp_path: Path, name: str, values: list[int]) -> None:
    table(**{name: values}).to_csv(tmp_path / "a.csv", index=False)
    result = clean(store, tmp_path / "a.csv")
    assert columns(store, result) == ["age", TARGET]
    (warning,) = result["warnings"]
    assert f'source: {{drop: ["{name or "Unnamed: 0"}"]}}' in warning
    assert "schema" in warning


@pytest.mark.parametrize("count", [1, 2])
def test_empty_columns_of_trailing_delimiters_are_left_out_with_warning(
    store: Store, tmp_path: Path, count: int
) -> None:
    lines = table(size=shuffled()).to_csv(index=False).splitlines()
    (tmp_path / "a.csv").write_text("".join(f"{line}{',' * count}\n" for line in lines))
    result = clean(store, tmp_path / "a.csv")
    assert columns(store, result) == ["age", TARGET, "size"]
    assert len(result["warnings"]) == count
    for number, warning in enumerate(result["warnings"]):
        assert f'source: {{drop: ["Unnamed: {3 + number}"]}}' in warning


def test_nameless_last_column_with_values_is_read_with_warning(store: Store, tmp_path: Path) -> None:
    lines = table().to_csv(index=False).splitlines()
    text = "".join(f"{line},{number % 7}\n" for number, line in enumerate(lines[1:]))
    (tmp_path / "a.csv").write_text(f"{lines[0]},\n{text}")
    result = clean(store, tmp_path / "a.csv")
    assert columns(store, result) == ["Unnamed: 2", "age", TARGET]
    assert "column 3 has no name, so it is read as 'Unnamed: 2'" in result["warnings"][0]


def test_table_with_trailing_delimiters_scores_without_them(tmp_path: Path) -> None:
    lines = table().to_csv(index=False).splitlines()
    (tmp_path / "a.csv").write_text("".join(f"{line},\n" for line in lines))
    pipeline = Pipeline(tmp_path, {"kind": "csv", "path": "a.csv"}, {})
    (tmp_path / "score.csv").write_text("age\n30\n")
    scored = pipeline.batch(pipeline.settings.source.model_copy(update={"path": str(tmp_path / "score.csv")}))
    with Door(pipeline) as door:
        assert door.predict([{"age": "30"}]).answers == scored.answers


def test_missing_target_of_a_file_without_header_has_the_option(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("".join(f"{number};{number},5;no\n" for number in range(9)))
    source = {"kind": "csv", "path": str(tmp_path / "a.csv"), "delimiter": ";"}
    with pytest.raises(StageError) as caught:
        clean(store, tmp_path / "a.csv", source=source)
    assert "set source.header: false and name the `columns`" in caught.value.remedy


def test_index_written_by_pandas_is_left_out_and_dropped_without_warning(store: Store, tmp_path: Path) -> None:
    table().to_csv(tmp_path / "a.csv")
    assert columns(store, clean(store, tmp_path / "a.csv")) == ["age", TARGET]
    declared = {"Unnamed: 0": {"type": "text", "drop": True}}
    assert clean(store, tmp_path / "a.csv", schema=declared)["warnings"] == []


def test_index_of_each_of_many_files_is_left_out(store: Store, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.csv" for number in range(20)]
    for path in paths:
        table().to_csv(path)
    assert columns(store, clean(store, *paths)) == ["age", TARGET]


def test_file_without_the_index_of_another_is_accepted(store: Store, tmp_path: Path) -> None:
    table().to_csv(tmp_path / "a.csv")
    table().to_csv(tmp_path / "b.csv", index=False)
    result = clean(store, tmp_path / "a.csv", tmp_path / "b.csv")
    assert result["rows"] == 2 * ROWS
    assert columns(store, result) == ["age", TARGET]
    assert len(result["warnings"]) == 1


@pytest.mark.parametrize("role", [{"schema": {"Unnamed: 0": {"type": "integer"}}}, {"id": "Unnamed: 0"}])
def test_declared_index_column_is_used(store: Store, tmp_path: Path, role: dict[str, Any]) -> None:
    table().to_csv(tmp_path / "a.csv")
    result = clean(store, tmp_path / "a.csv", **role)
    assert columns(store, result) == ["Unnamed: 0", "age", TARGET]
    assert result["warnings"] == []


@pytest.mark.parametrize("values", [[n % 9 for n in range(ROWS)], [-n for n in range(ROWS)], ["x", "y"] * (ROWS // 2)])
def test_first_column_without_name_and_other_values_is_read_with_warning(
    store: Store, tmp_path: Path, values: list[Any]
) -> None:
    table(**{"": values}).to_csv(tmp_path / "a.csv", index=False)
    result = clean(store, tmp_path / "a.csv")
    assert columns(store, result) == ["Unnamed: 0", "age", TARGET]
    assert "the first column has no name" in result["warnings"][0]


def test_request_without_the_index_is_answered_like_the_batch(tmp_path: Path) -> None:
    table().to_csv(tmp_path / "a.csv")
    pipeline = Pipeline(tmp_path, {"kind": "csv", "path": "a.csv"}, {})
    pipeline.has_process = False
    assert pipeline.columns == ["age"]
    expected = pipeline.batch(pipeline.settings.source)
    with Door(pipeline) as door:
        answers = door.predict([{"age": age} for age in table()["age"].tolist()])
        assert answers.answers == expected.answers
        assert door.predict([{"Unnamed: 0": 5, "age": 30}]).answers
