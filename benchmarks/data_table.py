"""`python -m benchmarks.data_table FOLDER ROWS FILES`: writes the table of the data benchmark, always the same.

Twelve columns with a bad age in 0.2 % of the rows; with FILES 0, 2000 columns of numbers.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv

from benchmarks.peers.data_job import Table

DESCRIPTION, PIPELINE = "table.json", "pipeline.yaml"
BLOCK = 50_000
WIDE_COLUMNS = 2000
_BAD_SHARE, _MISSING_SHARE = 0.002, 0.02
_BAD_CELLS = ("unknown", "-7", "forty", "999")
_BOUNDS = (0.0, 120.0)
_START = np.datetime64("2025-01-01", "s")
_TYPES = {
    **{"id": "VARCHAR", "ts": "TIMESTAMP", "age": "VARCHAR", "income": "DOUBLE", "tenure": "BIGINT"},
    **{"calls": "BIGINT", "usage": "DOUBLE", "latency": "DOUBLE", "score": "DOUBLE"},
    **{"region": "VARCHAR", "plan": "VARCHAR", "label": "VARCHAR"},
}
_SETTINGS = """\
pipeline: data
task: classification
source: {{kind: csv, path: "{source}"}}
id: id
{time}target: {target}
schema: {{{checked}: {{type: number, nullable: true, min: {low:g}, max: {high:g}}}}}
evaluate: {{holdout: 0.2}}
"""


def main(folder: Path, rows: int, files: int) -> None:
    """Write CSV files, their description and the pipeline file."""
    (folder / "csv").mkdir(parents=True)
    number = bad = 0
    blocks = _wide(rows) if files == 0 else _narrow(rows, files)
    for number, (table, bad_rows) in enumerate(blocks):
        if files > 1:
            csv.write_csv(table, folder / "csv" / f"part-{number:05d}.csv")
        else:
            with (folder / "csv" / "rows.csv").open("ab") as file:
                csv.write_csv(table, file, csv.WriteOptions(include_header=number == 0))
        bad += bad_rows
    source = folder / "csv" / ("*.csv" if files > 1 else "rows.csv")
    narrow = files > 0
    types = _TYPES if narrow else _wide_types()
    time, target, checked = ("ts", "label", "age") if narrow else (None, "label", "n0")
    described = Table(str(source), types, "id", time, target, checked, _BOUNDS, rows, bad)
    (folder / DESCRIPTION).write_text(json.dumps(asdict(described)))
    low, high = _BOUNDS
    timestamp = f"timestamp: {time}\n" if time else ""
    settings = _SETTINGS.format(source=source, time=timestamp, target=target, checked=checked, low=low, high=high)
    (folder / PIPELINE).write_text(settings)


def _narrow(rows: int, files: int) -> Iterator[tuple[pa.Table, int]]:
    """Yield tables and the number of their bad rows; with several files, a table for each."""
    size = -(-rows // files) if files > 1 else BLOCK
    for number, start in enumerate(range(0, rows, size)):
        yield _block(np.random.default_rng([0, number]), start, min(size, rows - start))


def _block(random: np.random.Generator, start: int, rows: int) -> tuple[pa.Table, int]:
    numbers = np.arange(start, start + rows)
    age, bad = _with_bad_cells(random, random.normal(42, 14, rows).clip(18, 100).round(1))
    usage = random.gamma(2, 30, rows).round(4)
    churn = usage + random.normal(0, 20, rows) > 50
    missing = random.random(rows) < _MISSING_SHARE
    columns = {
        "id": pa.array([f"c{each:09d}" for each in numbers]),
        "ts": pa.array(np.datetime_as_string(_START + 10 * numbers).tolist()),
        "age": age,
        "income": pa.array(random.lognormal(10.5, 0.6, rows).round(2), mask=missing),
        "tenure": random.integers(0, 120, rows),
        "calls": random.poisson(1.7, rows),
        "usage": usage,
        "latency": random.exponential(80, rows).round(3),
        "score": random.normal(0, 1, rows).round(6),
        "region": _words(random, ("north", "south", "east", "west"), rows),
        "plan": _words(random, ("basic", "plus", "pro"), rows),
        "label": pa.array(np.where(churn, "leaves", "stays").tolist()),
    }
    return pa.table(columns), bad


def _wide(rows: int) -> Iterator[tuple[pa.Table, int]]:
    random = np.random.default_rng(0)
    first, bad = _with_bad_cells(random, random.uniform(20, 80, rows).round(2))
    columns = {"id": pa.array([f"c{each:09d}" for each in range(rows)]), "n0": first}
    for number in range(1, WIDE_COLUMNS - 2):
        columns[f"n{number}"] = pa.array(random.normal(0, 1, rows).round(5), mask=random.random(rows) < _MISSING_SHARE)
    columns["label"] = _words(random, ("stays", "leaves"), rows)
    yield pa.table(columns), bad


def _wide_types() -> dict[str, str]:
    numbers = {f"n{number}": "DOUBLE" for number in range(1, WIDE_COLUMNS - 2)}
    return {"id": "VARCHAR", "n0": "VARCHAR", **numbers, "label": "VARCHAR"}


def _with_bad_cells(random: np.random.Generator, values: np.ndarray) -> tuple[pa.Array, int]:
    """Return the values as text, some of them missing and some bad, and the number of bad ones."""
    bad = random.random(len(values)) < _BAD_SHARE
    missing = ~bad & (random.random(len(values)) < _MISSING_SHARE)
    texts = np.where(bad, random.choice(_BAD_CELLS, len(values)), values.astype(str))
    return pa.array(texts.tolist(), mask=missing), int(bad.sum())


def _words(random: np.random.Generator, words: tuple[str, ...], rows: int) -> pa.Array:
    return pa.array(random.choice(words, rows).tolist())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
