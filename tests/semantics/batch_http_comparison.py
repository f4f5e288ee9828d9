"""The comparison of a batch with HTTP: each row is accepted by both with the same bytes, or refused by both."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ai_workflow.config.settings import CsvSource, ParquetSource
from tests.semantics import generated_tables, generated_types
from tests.semantics.generated_tables import Drawn, Refused
from tests.semantics.in_process_service import Door
from tests.semantics.pipeline import TARGET, Pipeline, Scored, write_csv

# The service lists at most this many refused cells of a request.
_SHOWN = 5
Send = Callable[[Sequence[int]], Scored]


@dataclass
class World:
    """A published pipeline, its columns as they were drawn, and the open door to its service."""

    chance: random.Random
    pipeline: Pipeline
    columns: Sequence[Drawn]
    missing: Sequence[str]
    strip: bool
    trained: Sequence[Mapping[str, str]]
    door: Door

    def agree(self, expected: Scored, rows: int, send: Send) -> int:
        """Send all rows in requests of drawn sizes, compare them with a batch, and return how many there were.

        Args:
            expected: what the batch makes of them.
            rows: how many there are.
            send: makes a request of rows by their numbers.
        """
        for numbers in self._requests(rows):
            refused = {place: expected.refused[row] for place, row in enumerate(numbers) if row in expected.refused}
            if refused:
                _same_refusals(send(numbers), refused, numbers)
            accepted = [row for row in numbers if row in expected.answers]
            assert len(accepted) + len(refused) == len(numbers)
            if accepted:
                _same_answers(send(accepted), expected, accepted)
        return rows

    def _requests(self, rows: int) -> Iterator[list[int]]:
        """Yield the numbers of the rows of each request: one row, some, or more than the quick path takes."""
        start = 0
        while start < rows:
            size = self.chance.choice([1, 2, 5, 20, 40, 40, 80])
            yield list(range(start, min(rows, start + size)))
            start += size

    def raw_cells(self, count: int) -> int:
        """Compare raw cells: a CSV file with `POST /predict` and BYTES tensors, in JSON and binary."""
        rows = [
            {
                column.name: generated_tables.cell(self.chance, column, self.missing)
                if self.chance.random() < 0.25
                else self.chance.choice(column.cells)
                for column in self.columns
            }
            for _ in range(count)
        ]
        expected = self._of_csv(rows)

        def tensors(numbers: Sequence[int], *, binary: bool) -> Scored:
            inputs = [
                {"name": name, "datatype": "BYTES", "data": [rows[row][name] for row in numbers]} for name in rows[0]
            ]
            return self.door.infer(inputs, len(numbers), binary=binary)

        self.agree(expected, count, lambda numbers: self.door.predict([rows[row] for row in numbers]))
        self.agree(expected, count, lambda numbers: tensors(numbers, binary=False))
        return self.agree(expected, count, lambda numbers: tensors(numbers, binary=True))

    def json_values(self, count: int) -> int:
        """Compare JSON values of all types with a CSV file of the cells that they are by docs/serving.md."""
        rows = [
            {
                column.name: generated_tables.value(self.chance, column)
                if self.chance.random() < 0.3
                else self.chance.choice(column.cells)
                for column in self.columns
            }
            for _ in range(count)
        ]
        cells: list[dict[str, str]] = []
        unfit: dict[int, tuple[str, ...]] = {}
        for number, row in enumerate(rows):
            as_cells = {
                column.name: generated_tables.as_cell(row[column.name], column, self._known(column), self.missing)
                for column in self.columns
            }
            wrong = tuple(name for name, cell in as_cells.items() if isinstance(cell, Refused))
            if wrong:
                unfit[number] = wrong
            cells.append(
                {name: self._fine(name) if isinstance(cell, Refused) else cell for name, cell in as_cells.items()}
            )
        found = self._of_csv(cells)
        refused = {row: (*found.refused.get(row, ()), *unfit.get(row, ())) for row in found.refused | unfit}
        expected = Scored({row: answer for row, answer in found.answers.items() if row not in unfit}, refused)
        return self.agree(expected, count, lambda numbers: self.door.predict([rows[row] for row in numbers]))

    def typed_tables(self, count: int) -> int:
        """Compare typed columns: a Parquet file with tensors of their datatypes and with JSON numbers."""
        table = generated_types.typed_table(self.chance, self.columns, count)
        path = self.pipeline.folder / "typed.parquet"
        pq.write_table(pa.table({each.name: each.array for each in table}), path)
        expected = self.pipeline.batch(ParquetSource(kind="parquet", path=str(path)))

        def tensors(numbers: Sequence[int], *, binary: bool) -> Scored:
            inputs = [
                {"name": each.name, "datatype": each.datatype, "data": [each.values[row] for row in numbers]}
                for each in table
            ]
            return self.door.infer(inputs, len(numbers), binary=binary)

        self.agree(expected, count, lambda numbers: tensors(numbers, binary=True))
        self.agree(expected, count, lambda numbers: tensors(numbers, binary=False))
        rows = [{each.name: each.values[row] for each in table} for row in range(count)]
        return self.agree(expected, count, lambda numbers: self.door.predict([rows[row] for row in numbers]))

    def _of_csv(self, rows: Sequence[Mapping[str, str]]) -> Scored:
        path = self.pipeline.folder / "score.csv"
        write_csv(path, rows)
        return self.pipeline.batch(CsvSource(kind="csv", path=str(path)))

    def _known(self, column: Drawn) -> frozenset[str]:
        """Return the values of a category that training saw, and those that are allowed."""
        seen = {self._stripped(row[column.name]) for row in self.trained}
        gone = {self._stripped(token) for token in self.missing}
        return frozenset((seen - gone) | {*column.declared.get("allowed", ())} | self._fill(column)) - {""}

    def _fill(self, column: Drawn) -> set[str]:
        gone = {self._stripped(token) for token in self.missing}
        is_used = any(self._stripped(row[column.name]) in gone for row in self.trained)
        return {column.declared["fill"]} if "fill" in column.declared and is_used else set()

    def _stripped(self, text: str) -> str:
        return text.strip() if self.strip else text

    def _fine(self, name: str) -> str:
        return next(column for column in self.columns if column.name == name).cells[-1]


def _same_refusals(found: Scored, expected: Mapping[int, tuple[str, ...]], numbers: Sequence[int]) -> None:
    cells = [(row, column) for row, columns in expected.items() for column in columns]
    shown = [(row, column) for row, columns in found.refused.items() for column in columns]
    assert not found.answers, f"rows {numbers}: HTTP accepts, the batch refuses {cells}"
    wrong = set(shown) - set(cells)
    assert not wrong, f"rows {numbers}: HTTP refuses {wrong}, the batch accepts them"
    assert found.count == len(cells), (
        f"rows {numbers}: HTTP refuses {found.count} cells, the batch {len(cells)}: {cells}"
    )
    assert len(shown) == min(_SHOWN, len(cells))


def _same_answers(found: Scored, expected: Scored, numbers: Sequence[int]) -> None:
    assert not found.refused, f"rows {numbers}: HTTP refuses {found.refused}, the batch accepts them"
    for place, row in enumerate(numbers):
        assert found.answers[place] == expected.answers[row], f"row {row}: HTTP and the batch answer differently"


def drawn_world(folder: Path, chance: random.Random, count: int) -> World:
    """Return a pipeline that is drawn, trained on a CSV file and published, with its door closed."""
    missing, strip = generated_tables.tokens(chance), chance.random() < 0.5
    columns = generated_tables.columns(chance, count, missing)
    rows = [{each.name: chance.choice(each.cells) for each in columns} for _ in range(60)]
    write_csv(folder / "train.csv", [{**row, TARGET: ("poor", "rich")[number % 2]} for number, row in enumerate(rows)])
    source = {"kind": "csv", "path": "train.csv", "missing": missing, "strip": strip}
    pipeline = Pipeline(folder, source, {each.name: each.declared for each in columns})
    return World(chance, pipeline, columns, missing, strip, rows, Door(pipeline))
