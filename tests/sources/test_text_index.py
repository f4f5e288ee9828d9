"""Ranges of text end where rows end, and their rows equal those of the sequential reader; else they are refused."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ai_workflow.errors import StageError
from ai_workflow.sources import csv_source, input_files
from ai_workflow.sources.text_index import cuts, range_parser
from ai_workflow.sources.text_index.range_parser import UnusualTextError
from tests.sources.loading import csv, write

USUAL = ["1", "", "a b", '"a,b"', '"line\nline"', '"x ""y"" z"', "ä€"]
VALUES = [*USUAL, '"', 'in"ch', '"\r\n"', " ", '"\n\n"', "\0", "\t"]
ENDS = ["\n", "\r\n", "\r"]


def sequential(path: Path) -> Any:
    """Return the rows of the sequential reader without missing values, or its error."""
    source = csv(path, header=False, columns=("a", "b", "c"))
    (found,) = input_files.find(str(path), (".csv",))
    file = input_files.InputFile(**found)
    try:
        tables = list(csv_source.read(file, source, csv_source.schema(file, source)))
    except StageError as error:
        return str(error)
    return [tuple(row.values()) for table in tables for row in table.to_pylist()]


def indexed(data: bytes, size: int) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    for piece in cuts.ranges(io.BytesIO(data), b'"', size):
        table = range_parser.parse(piece.data, 3, ",", '"')
        rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
        found += [(len(found) + number, *(value or None for value in row)) for number, row in enumerate(rows, 1)]
    return found


@pytest.mark.parametrize("seed", range(20))
def test_accepted_ranges_equal_sequential_reader(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    accepted = 0
    for number in range(40):
        usual = USUAL if chance.random() < 0.6 else VALUES
        end = chance.choice(ENDS[: 2 if chance.random() < 0.8 else None])
        lines = [",".join(chance.choices(usual, k=3)) for _ in range(chance.randint(1, 30))]
        if chance.random() < 0.2:
            lines.insert(chance.randrange(len(lines)), chance.choice(["", " ", "1,2", "1,2,3,4"]))
        data = (end.join(lines) + chance.choice(["", end])).encode()
        expected = sequential(write(tmp_path / f"{number}.csv", data))
        try:
            rows = indexed(data, chance.choice([16, 64, 1 << 20]))
        except UnusualTextError:
            continue
        assert rows == expected, data
        accepted += 1
    assert accepted > 5


@pytest.mark.parametrize("size", [1, 7, 64, 1 << 20])
def test_ranges_cover_file_and_end_with_rows(size: int) -> None:
    data = b'a,b,c\n1,"x\ny",2\n3,"""\n""",4\n5,6,7'
    pieces = list(cuts.ranges(io.BytesIO(data), b'"', size))
    assert b"".join(piece.data for piece in pieces) == data
    assert [piece.offset for piece in pieces] == [sum(len(p.data) for p in pieces[:i]) for i in range(len(pieces))]
    assert all(piece.data.endswith(b"\n") for piece in pieces[:-1])
    assert all(piece.data.count(b'"') % 2 == 0 for piece in pieces)


UNUSUAL = [
    b"1,2,3\n\n4,5,6\n",
    b"1,2,3\n4,5\n",
    b"1,2,3,4\n",
    b'1,2,"3\n',
    b"1,\0,3\n",
    b"1,\xe9,3\n",
    b"\n1,2,3\n",
    b"1,2,3\n \n",
]


@pytest.mark.parametrize("data", UNUSUAL)
def test_unusual_range_is_refused(data: bytes) -> None:
    with pytest.raises(UnusualTextError):
        range_parser.parse(data, 3, ",", '"')


def test_columns_are_text() -> None:
    assert range_parser.parse(b"1,2,3\n", 3, ",", '"').schema.types == [pa.string()] * 3
