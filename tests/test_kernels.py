"""Arrow kernels return the same values, rejected rows and inferred types as the code that reads single cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from ai_workflow.config.settings import Column
from ai_workflow.datasets import cells, parquet
from ai_workflow.datasets.cells import CellRules
from ai_workflow.datasets.kernels import clean_column, evidence, plain_text
from ai_workflow.datasets.notation import type_evidence
from ai_workflow.datasets.notation.type_evidence import TextRules
from tests import nasty_columns


def rejected_rows(findings: Sequence[tuple[str, Any]]) -> dict[str, list[bool]]:
    masks = {reason: pd.Series(mask).astype(bool).tolist() for reason, mask in findings}
    return {reason: mask for reason, mask in masks.items() if any(mask)}


def bits(values: pa.Array) -> list[object]:
    """Return the values as a list in which zeros of different sign differ."""
    return [repr(value) for value in values.to_pylist()]


def check_column(texts: list[str | None], column: Column, rules: CellRules) -> None:
    spelling = rules.spelling("x")
    expected, expected_findings = cells.clean(pd.Series(texts, dtype="str"), column, rules, spelling)
    array = parquet.to_table(pd.DataFrame({"x": expected}))["x"].combine_chunks()
    cells_read = pa.chunked_array([pa.array(texts, pa.string())])
    text = clean_column.contiguous(cells_read)
    for plain in (None, plain_text.numbers(text), plain_text.timestamps(text)):
        values, findings = clean_column.clean(cells_read, column, rules, spelling, plain)
        assert rejected_rows(findings) == rejected_rows(expected_findings), (texts, column)
        assert values.type == array.type
        assert bits(values) == bits(array), (texts, column)


def check_evidence(texts: list[str | None], rules: TextRules) -> None:
    expected = type_evidence.count(pd.Series(texts, dtype="str"), rules)
    text = pa.array(texts, pa.large_string())
    counts = evidence.count(text, rules).evidence
    if counts["distinct"] == evidence.NOT_COUNTED:
        counts["distinct"] = evidence.count_distinct(text)
    assert counts == expected, texts


def check_columns(count: int, seed: int) -> None:
    for texts, column, rules in nasty_columns.columns(count, seed):
        check_column(texts, column, rules)
        check_evidence(texts, TextRules(default_missing=rules.default_missing))


def test_numbers_of_many_columns_equal_those_of_each_column() -> None:
    texts = [["1", "2.5", None], ["x", "1", "2"], ["nan", "-0", "1e400"], [None] * 3, ["0" * 200, "1", "2"], ["7"] * 3]
    columns = [pa.chunked_array([each[:1], each[1:]], pa.string()) for each in texts]
    for count in range(1, len(columns) + 1):
        read = plain_text.numbers_of_all(columns[:count])
        for each, numbers in zip(columns, read, strict=False):
            if numbers is None:
                assert each[0].as_py() == "x"
                continue
            alone = plain_text.numbers(clean_column.contiguous(each))
            np.testing.assert_array_equal(numbers.values, alone.values)
            np.testing.assert_array_equal(numbers.plain, alone.plain)


@pytest.mark.parametrize("token", ["7", "7.0", "x"])
@pytest.mark.parametrize("kind", ["integer", "number", "text"])
def test_plain_numbers_are_missing_where_the_source_says_so(token: str, kind: str) -> None:
    for texts in (["7", "8"], ["007", "1e3"], ["9007199254740993", "1"]):
        check_column(list(texts), Column(type=kind, nullable=True), CellRules(missing=(token,)))  # type: ignore[arg-type]


@pytest.mark.slow
def test_columns_of_unusual_cells_are_coerced_as_single_cells_are() -> None:
    check_columns(150, 0)


@pytest.mark.slow
def test_result_does_not_depend_on_cells_that_are_cast_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_text, "_CAST_CELLS", 3)
    monkeypatch.setattr(evidence, "_SAMPLE_ROWS", 5)
    check_columns(100, 11)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1, 11))
def test_many_columns_of_unusual_cells_are_coerced_as_single_cells_are(seed: int) -> None:
    check_columns(1000, seed)


@pytest.mark.parametrize("kind", ["number", "integer", "boolean", "datetime", "category", "text"])
@pytest.mark.parametrize("strip", [False, True])
def test_column_of_all_unusual_cells_is_coerced_as_single_cells_are(kind: str, strip: bool) -> None:
    column = Column.model_validate({"type": kind, "nullable": True})
    check_column(
        [*nasty_columns.NASTY, None], column, CellRules(missing=("5", "null"), strip=strip, default_missing=strip)
    )
    check_evidence([*nasty_columns.NASTY, None], TextRules(default_missing=strip))
