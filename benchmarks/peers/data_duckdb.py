"""Infer types, clean, quarantine, statistics and features in DuckDB: TABLE FOLDER THREADS.

The quantiles are approximate (t-digest), because exact ones take four times the CPU time.
"""

from __future__ import annotations

import sys

import duckdb
from data_job import HOLDOUT, MAX_CATEGORIES, QUANTILES, ROW_GROUP_ROWS, Clock, Table

_PARQUET = f"(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP_ROWS})"
_DATE_PARTS = ("month", "day", "isodow", "hour")


class Job:
    """Stages of the job on one connection."""

    def __init__(self, table: Table, folder: str, connection: duckdb.DuckDBPyConnection) -> None:
        self.table = table
        self.clean = f"'{folder}/clean.parquet'"
        self._folder = folder
        self._sql = connection
        columns = dict.fromkeys(table.types, "VARCHAR")
        self._text = (
            f"read_csv({table.files}, header = true, auto_detect = false, delim = ',', nullstr = '', "
            f"columns = {columns}, strict_mode = true, null_padding = false)"
        )

    def infer(self) -> dict[str, str]:
        """Return the SQL type of every input by all of its values; the checked column is a number."""
        tests = [
            f"count({x}) = count(try_cast({x} AS DOUBLE)), count_if(try_cast({x} AS DOUBLE) % 1 = 0) = count({x})"
            for x in self.table.inputs
        ]
        row = self._one(f"SELECT {', '.join(tests)} FROM {self._text}")
        types = {}
        for name, number, whole in zip(self.table.inputs, row[::2], row[1::2], strict=True):
            types[name] = "BIGINT" if whole else "DOUBLE" if number or name == self.table.checked else "VARCHAR"
        texts = [name for name, kind in types.items() if kind == "VARCHAR"]
        if texts:
            tests = [f"count(try_cast({x} AS TIMESTAMP)), approx_count_distinct({x})" for x in texts]
            self._one(f"SELECT {', '.join(tests)} FROM {self._text}")
        return types

    def split(self, types: dict[str, str]) -> tuple[int, int]:
        """Write clean and rejected rows; return the number of each."""
        low, high = self.table.bounds
        checked = self.table.checked
        value = f"try_cast({checked} AS DOUBLE)"
        bad = f"({checked} IS NOT NULL AND NOT coalesce({value} BETWEEN {low} AND {high}, false))"
        casts = [f"try_cast({x} AS {kind}) AS {x}" for x, kind in types.items()]
        if self.table.time:
            casts.append(f"try_cast({self.table.time} AS TIMESTAMP) AS {self.table.time}")
        numbered = f"(SELECT row_number() OVER () + 1 AS __row, * FROM {self._text})"
        columns = f"__row, {self.table.id}, {self.table.target}, {', '.join(casts)}"
        kept = self._one(f"COPY (SELECT {columns} FROM {numbered} WHERE NOT {bad}) TO {self.clean} {_PARQUET}")
        rejected = self._one(f"COPY (SELECT * FROM {numbered} WHERE {bad}) TO '{self._folder}/rejected.csv'")
        return int(kept[0]), int(rejected[0])

    def holdout(self) -> str:
        """Return the condition of the rows held out."""
        if not self.table.time:
            return f"hash({self.table.id}) % 100 < {100 * HOLDOUT:.0f}"
        [cutoff] = self._one(f"SELECT quantile_disc({self.table.time}, {1 - HOLDOUT}) FROM {self.clean}")
        return f"{self.table.time} >= TIMESTAMP '{cutoff}'"

    def statistics(self, types: dict[str, str], held_out: str) -> dict[str, list[str]]:
        """Compute statistics of the numbers; return the vocabulary of the texts, most frequent first."""
        training = f"{self.clean} WHERE NOT ({held_out})"
        numbers = [name for name, kind in types.items() if kind != "VARCHAR"]
        values = [
            f"count({x}), avg({x}), var_pop({x}), approx_quantile({x}::DOUBLE, {QUANTILES}::FLOAT[])" for x in numbers
        ]
        self._one(f"SELECT {', '.join(values)} FROM {training}")
        words = {}
        for name in [*(name for name in types if name not in numbers), self.table.target]:
            counts = (
                f"SELECT {name}, count(*) AS n FROM {training} AND {name} IS NOT NULL GROUP BY 1 ORDER BY n DESC, 1"
            )
            words[name] = [word for word, _ in self._sql.execute(f"{counts} LIMIT {MAX_CATEGORIES}").fetchall()]
        return words

    def features(self, types: dict[str, str], held_out: str, words: dict[str, list[str]]) -> int:
        """Write the features as 32-bit numbers; return the number of rows."""
        time, target = self.table.time, self.table.target
        columns = ["__row", self.table.id, f"list_position({sorted(words[target])}, {target}) - 1.0 AS __target"]
        columns.append(f"{held_out} AS __holdout")
        for name, kind in types.items():
            position = f"coalesce(list_position({words.get(name)}, {name}) - 1, {MAX_CATEGORIES})"
            columns.append(f"{position if kind == 'VARCHAR' else name}::FLOAT AS {name}")
        columns.append(f"({self.table.checked} IS NULL)::FLOAT AS {self.table.checked}__missing")
        if time:
            columns += [f"{part}({time})::FLOAT AS {time}__{part}" for part in _DATE_PARTS]
        target_file = f"'{self._folder}/features.parquet'"
        return int(self._one(f"COPY (SELECT {', '.join(columns)} FROM {self.clean}) TO {target_file} {_PARQUET}")[0])

    def _one(self, query: str) -> tuple[float, ...]:
        return self._sql.execute(query).fetchone()


def main(description: str, folder: str, threads: str) -> None:
    """Run all stages."""
    clock = Clock()
    config = {"threads": threads, "memory_limit": "1GB", "temp_directory": f"{folder}/spill"}
    with duckdb.connect(config=config) as connection:
        job = Job(Table.read(description), folder, connection)
        types = job.infer()
        kept, rejected = job.split(types)
        held_out = job.holdout()
        words = job.statistics(types, held_out)
        clock.finish(kept, rejected, job.features(types, held_out, words))


if __name__ == "__main__":
    main(*sys.argv[1:])
