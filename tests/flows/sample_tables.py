"""Small tables that a model can learn from, made by numpy, and the pipeline that reads them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

HEADER = ("row_id", "age", "kind", "seen", "good")
PIPELINE: dict[str, Any] = {
    "pipeline": "small_credit",
    "task": "classification",
    "source": {"kind": "csv", "path": "rows-*.csv"},
    "id": "row_id",
    "target": "good",
    # One thread: on a machine with other work, LightGBM's threads wait for each other.
    "trainer": {"steps": 10, "params": {"learning_rate": 0.3, "num_threads": 1}},
    "evaluate": {"minimum": 0.7},
}


def rows(count: int = 150, seed: int = 0) -> list[list[Any]]:
    """Return rows of `HEADER`: a number with gaps, a category, a date, and a target that depends on the first two."""
    draw = np.random.default_rng(seed)
    age, kind = draw.normal(40, 10, count), draw.integers(0, 3, count)
    good = age / 10 + kind + draw.normal(0, 0.3, count) > 5
    missing = draw.random(count) < 0.05
    return [
        [f"r{seed}-{row}", "" if missing[row] else f"{age[row]:.2f}", f"k{kind[row]}", _day(row), int(good[row])]
        for row in range(count)
    ]


def write(path: Path, found: Iterable[Sequence[Any]], header: Sequence[str] | None = HEADER) -> Path:
    """Write rows as CSV."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([header] if header else [])
        writer.writerows(found)
    return path


def _day(row: int) -> str:
    return str(np.datetime64("2025-01-01") + row)
