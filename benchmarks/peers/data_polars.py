"""Infer types, clean, quarantine, statistics and features in Polars' streaming engine: TABLE FOLDER THREADS."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["POLARS_MAX_THREADS"] = sys.argv[3]

import polars as pl
from data_job import HOLDOUT, MAX_CATEGORIES, QUANTILES, ROW_GROUP_ROWS, Clock, Table

_DATE_PARTS = ("month", "day", "weekday", "hour")
_PARQUET = {"compression": "zstd", "compression_level": 1, "row_group_size": ROW_GROUP_ROWS}


def infer(table: Table, text: pl.LazyFrame) -> dict[str, pl.DataType]:
    """Return the type of every input by all of its values; the checked column is a number."""
    tests = []
    for name in table.inputs:
        value = pl.col(name).cast(pl.Float64, strict=False)
        tests.append((value.count() == pl.col(name).count()).alias(f"{name} number"))
        tests.append(((value % 1 == 0).sum() == pl.col(name).count()).alias(f"{name} whole"))
    signs = text.select(tests).collect(engine="streaming").row(0, named=True)
    types: dict[str, pl.DataType] = {}
    for name in table.inputs:
        number = signs[f"{name} number"] or name == table.checked
        types[name] = pl.Int64() if signs[f"{name} whole"] else pl.Float64() if number else pl.String()
    return types


def split(table: Table, text: pl.LazyFrame, types: dict[str, pl.DataType], folder: str) -> None:
    """Write clean and rejected rows in one scan."""
    checked = pl.col(table.checked)
    valid = checked.cast(pl.Float64, strict=False).is_between(*table.bounds).fill_null(value=False)
    bad = checked.is_not_null() & ~valid
    casts = [pl.col(name).cast(kind, strict=False) for name, kind in types.items()]
    if table.time:
        casts.append(pl.col(table.time).str.to_datetime(strict=False))
    clean = text.filter(~bad).select("__row", table.id, table.target, *casts)
    sinks = [
        clean.sink_parquet(f"{folder}/clean.parquet", lazy=True, **_PARQUET),
        text.filter(bad).sink_csv(f"{folder}/rejected.csv", lazy=True),
    ]
    pl.collect_all(sinks, engine="streaming")


def holdout(table: Table, clean: pl.LazyFrame) -> pl.Expr:
    """Return the condition of the rows held out."""
    if not table.time:
        return pl.col(table.id).hash(0) % 100 < 100 * HOLDOUT
    latest = pl.col(table.time).quantile(1 - HOLDOUT, "lower")
    return pl.col(table.time) >= clean.select(latest).collect(engine="streaming").item()


def statistics(table: Table, types: dict[str, pl.DataType], training: pl.LazyFrame) -> dict[str, list[str]]:
    """Compute statistics of the numbers; return the vocabulary of the texts, most frequent first."""
    values = []
    for name, kind in types.items():
        if kind != pl.String:
            column = pl.col(name).cast(pl.Float64)
            values += [column.mean().alias(f"{name} mean"), column.var().alias(f"{name} variance")]
            values.append(column.drop_nulls().sort().implode().alias(f"{name} sorted"))
    frame = training.select(values).collect(engine="streaming")
    for name in [name for name in frame.columns if name.endswith(" sorted")]:
        column = frame[name][0]
        column.gather([round(point * (len(column) - 1)) for point in QUANTILES])
    words = {}
    for name in [*(name for name, kind in types.items() if kind == pl.String), table.target]:
        counts = training.group_by(name).len().sort("len", name, descending=[True, False])
        words[name] = counts.head(MAX_CATEGORIES).collect(engine="streaming")[name].drop_nulls().to_list()
    return words


def features(
    table: Table, types: dict[str, pl.DataType], clean: pl.LazyFrame, held_out: pl.Expr, words: dict[str, list[str]]
) -> list[pl.Expr]:
    """Return the features as 32-bit numbers."""
    classes = {word: float(number) for number, word in enumerate(sorted(words[table.target]))}
    target = pl.col(table.target).replace_strict(classes, default=-1.0, return_dtype=pl.Float64)
    columns = [pl.col("__row"), pl.col(table.id), target.alias("__target"), held_out.alias("__holdout")]
    for name, kind in types.items():
        column = pl.col(name)
        if kind == pl.String:
            positions = {word: float(number) for number, word in enumerate(words[name])}
            column = column.replace_strict(positions, default=float(MAX_CATEGORIES), return_dtype=pl.Float32)
        columns.append(column.cast(pl.Float32))
    columns.append(pl.col(table.checked).is_null().cast(pl.Float32).alias(f"{table.checked}__missing"))
    if table.time:
        moments = pl.col(table.time).dt
        columns += [getattr(moments, part)().cast(pl.Float32).alias(f"{table.time}__{part}") for part in _DATE_PARTS]
    return columns


def main(description: str, folder: str) -> None:
    """Run all stages."""
    clock = Clock()
    table = Table.read(description)
    text = pl.scan_csv(table.files, infer_schema=False, row_index_name="__row", row_index_offset=2)
    types = infer(table, text)
    split(table, text, types, folder)
    clean = pl.scan_parquet(f"{folder}/clean.parquet")
    held_out = holdout(table, clean)
    words = statistics(table, types, clean.filter(~held_out))
    clean.select(features(table, types, clean, held_out, words)).sink_parquet(f"{folder}/features.parquet", **_PARQUET)
    with Path(folder, "rejected.csv").open() as file:
        rejected = sum(1 for _ in file) - 1
    kept, featured = (_rows(f"{folder}/{name}.parquet") for name in ("clean", "features"))
    clock.finish(kept, rejected, featured)


def _rows(file: str) -> int:
    return pl.scan_parquet(file).select(pl.len()).collect().item()


if __name__ == "__main__":
    main(*sys.argv[1:3])
