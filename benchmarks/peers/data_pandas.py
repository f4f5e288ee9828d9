"""Infer types, clean, quarantine, statistics and features in pandas, in chunks of rows: TABLE FOLDER THREADS."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from data_job import HOLDOUT, MAX_CATEGORIES, QUANTILES, ROW_GROUP_ROWS, Clock, Table

_DATE_PARTS = ("month", "day", "weekday", "hour")


class ParquetFile:
    """A Parquet file that grows by frames."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.rows = 0
        self._writer: pq.ParquetWriter | None = None

    def add(self, frame: pd.DataFrame) -> None:
        """Append a frame; the first has the types of the columns."""
        schema = self._writer.schema if self._writer else None
        table = pa.Table.from_pandas(frame, schema=schema, preserve_index=False)
        if self._writer is None:
            self._writer = pq.ParquetWriter(self.path, table.schema, compression="zstd")
        self._writer.write_table(table)
        self.rows += len(frame)

    def close(self) -> None:
        """Write the footer."""
        if self._writer:
            self._writer.close()


def chunks(table: Table) -> Iterator[pd.DataFrame]:
    """Read the files as text."""
    for file in table.files:
        options = {"dtype": "str", "keep_default_na": False, "na_values": [""], "chunksize": ROW_GROUP_ROWS}
        yield from pd.read_csv(file, **options)


def infer(table: Table) -> dict[str, str]:
    """Return the type of every input by all of its values; the checked column is a number."""
    number = dict.fromkeys(table.inputs, True)
    whole = dict.fromkeys(table.inputs, True)
    for chunk in chunks(table):
        for name in [name for name in table.inputs if number[name] or name == table.checked]:
            values = pd.to_numeric(chunk[name], errors="coerce")
            number[name] = number[name] and bool(values.notna().eq(chunk[name].notna()).all())
            whole[name] = whole[name] and number[name] and bool((values.dropna() % 1 == 0).all())
    kinds = {}
    for name in table.inputs:
        kinds[name] = "Int64" if whole[name] else "float64" if number[name] or name == table.checked else "str"
    return kinds


def split(table: Table, kinds: dict[str, str], clean: ParquetFile, folder: str) -> int:
    """Write clean and rejected rows; return the number of rejected ones."""
    rejected = 0
    start = 2
    for chunk in chunks(table):
        frame = pd.DataFrame({"__row": np.arange(start, start + len(chunk)), table.id: chunk[table.id]})
        frame[table.target] = chunk[table.target]
        typed = {name: _typed(chunk[name], kind) for name, kind in kinds.items()}
        if table.time:
            typed[table.time] = pd.to_datetime(chunk[table.time], errors="coerce", format="ISO8601")
        frame = pd.concat([frame, pd.DataFrame(typed)], axis=1)
        bad = chunk[table.checked].notna() & ~frame[table.checked].between(*table.bounds)
        clean.add(frame[~bad])
        rejected += int(bad.sum())
        chunk[bad].to_csv(f"{folder}/rejected.csv", mode="a", header=start == 2)
        start += len(chunk)
    return rejected


def statistics(
    table: Table, kinds: dict[str, str], clean: ParquetFile, held_out: np.ndarray
) -> dict[str, dict[str, int]]:
    """Compute statistics of the numbers, column by column; return the positions of the words of the texts."""
    words = {}
    with pq.ParquetFile(clean.path) as file:
        for name, kind in [*kinds.items(), (table.target, "str")]:
            values = file.read([name]).column(0).to_pandas()[~held_out]
            if kind == "str":
                frequent = values.value_counts().index[:MAX_CATEGORIES]
                words[name] = {word: number for number, word in enumerate(frequent)}
            else:
                present = values.dropna().to_numpy("float64")
                _ = present.mean(), present.var(), np.quantile(present, QUANTILES)
    return words


def holdout(table: Table, clean: ParquetFile) -> np.ndarray:
    """Return which rows are held out."""
    with pq.ParquetFile(clean.path) as file:
        values = file.read([table.time or table.id]).column(0).to_pandas()
    if not table.time:
        return pd.util.hash_array(values.to_numpy("object")) % 100 < 100 * HOLDOUT
    return (values >= values.quantile(1 - HOLDOUT, interpolation="lower")).to_numpy()


def featured(
    table: Table, kinds: dict[str, str], chunk: pd.DataFrame, held_out: np.ndarray, words: dict[str, dict[str, int]]
) -> pd.DataFrame:
    """Return the features of a chunk as 32-bit numbers."""
    classes = {word: number for number, word in enumerate(sorted(words[table.target]))}
    columns = {"__row": chunk["__row"], table.id: chunk[table.id]}
    columns |= {"__target": chunk[table.target].map(classes).astype("float64"), "__holdout": held_out}
    for name, kind in kinds.items():
        values = chunk[name].map(words[name]).fillna(MAX_CATEGORIES) if kind == "str" else chunk[name]
        columns[name] = values.astype("float32")
    columns[f"{table.checked}__missing"] = chunk[table.checked].isna().astype("float32")
    if table.time:
        moments = chunk[table.time].dt
        columns |= {f"{table.time}__{part}": getattr(moments, part).astype("float32") for part in _DATE_PARTS}
    return pd.DataFrame(columns)


def main(description: str, folder: str) -> None:
    """Run all stages."""
    clock = Clock()
    table = Table.read(description)
    clean, features = (ParquetFile(f"{folder}/{name}.parquet") for name in ("clean", "features"))
    kinds = infer(table)
    rejected = split(table, kinds, clean, folder)
    clean.close()
    held_out = holdout(table, clean)
    words = statistics(table, kinds, clean, held_out)
    with pq.ParquetFile(clean.path) as file:
        for batch in file.iter_batches(ROW_GROUP_ROWS):
            part = held_out[features.rows : features.rows + len(batch)]
            features.add(featured(table, kinds, batch.to_pandas(), part, words))
    features.close()
    clock.finish(clean.rows, rejected, features.rows)


def _typed(values: pd.Series, kind: str) -> pd.Series:
    if kind == "str":
        return values
    numbers = pd.to_numeric(values, errors="coerce")
    return numbers.astype("float64") if kind == "float64" else numbers.astype("Int64")


if __name__ == "__main__":
    main(*sys.argv[1:3])
