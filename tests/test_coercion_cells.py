"""Cells of columns of objects, as JSON gives them: numbers beside texts, or numbers only."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from ai_workflow.config.settings import Column
from ai_workflow.datasets import coercion


@pytest.mark.parametrize("options", [{}, {"decimal": ","}], ids=["python", "comma"])
@pytest.mark.parametrize(
    ("cells", "numbers"), [([1, 2], [1.0, 2.0]), (["１２", 3], [12.0, 3.0]), ([None, 4], [None, 4.0]), ([], [])]
)
def test_numbers_in_column_of_objects_are_read(
    cells: list[Any], numbers: list[float | None], options: dict[str, Any]
) -> None:
    column = Column(type="number", nullable=True, **options)
    read, _ = coercion.coerce(pd.Series(cells, dtype=object), column)

    assert read.astype(object).where(read.notna(), None).tolist() == numbers
