"""The data benchmark: a repeatable table, checked row counts, memory of the process tree, and ratios."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import data, data_table
from benchmarks.data_report import COPY, OWN, POLARS, SMALL, Goal, Run, Shape, goals, render
from benchmarks.measure import BenchmarkError
from benchmarks.peers.data_job import Table

ROOT = data.ROOT
RUNS = {
    OWN: [Run(6, 8, 7, 300), Run(4, 6, 5, 400), Run(9, 9, 9, 500)],
    COPY: [Run(2, 4, 2, 100), Run(4, 6, 4, 100), Run(3, 3, 3, 100)],
    POLARS: [Run(3, 3, 3, 1000), Run(4, 3, 4, 1000), Run(3, 3, 3, 1000)],
    SMALL: [Run(0.5, 1, 1, 100), Run(0.5, 1, 1, 100), Run(0.5, 1, 1, 100)],
}
SHAPES = [Shape(rows=3000, files=2), pytest.param(Shape(rows=400, wide=True), marks=pytest.mark.soak)]
# A parent and its child hold 200 MiB each at the same time.
FAMILY = """
import subprocess, sys, time
held = b"x" * (200 << 20)
subprocess.run([sys.executable, "-c", "import time; held = b'x' * (200 << 20); time.sleep(1)"])
"""
# In a small process: a child's peak is never below the memory of the process that started it.
MEASURE = """
import os, sys
from pathlib import Path
from benchmarks.measure import cost
for tree in (True, False):
    print(cost([sys.executable, "-c", sys.argv[1]], os.environ, Path.cwd(), Path(sys.argv[2]), tree=tree).mebibytes)
"""


def test_ratios_are_medians_of_the_rounds() -> None:
    row = next(line for line in render(RUNS, []).splitlines() if line.startswith(f"{OWN}  "))

    assert row.split() == [OWN, *["4.00", "/", "6.00", "/", "9.00", "8.00", "7.00", "400", "3.00", "2.00", "2.00"]]


def test_goals_of_a_long_table_and_of_many_columns_or_files() -> None:
    long = goals(RUNS, Shape(rows=10))

    assert [(goal.value, goal.met) for goal in long] == [(3, True), (2, False), (0.4, True), (400, True), (1.2, False)]
    for shape in (Shape(rows=10, wide=True), Shape(rows=10, files=2)):
        assert goals(RUNS, shape) == [Goal(f"seconds for {shape}", 3, 6)]


def test_skipped_peers_leave_ratios_empty_and_give_the_reason() -> None:
    report = render({OWN: RUNS[OWN]}, goals({OWN: RUNS[OWN]}, Shape(rows=10)), "no network")

    assert report.splitlines()[1].split()[-3:] == ["-", "-", "-"]
    assert "peers skipped: no network" in report
    assert "Polars:" not in report


def test_unknown_subject_is_an_error() -> None:
    with pytest.raises(BenchmarkError, match="unknown spark; known are ai-workflow, COPY"):
        data.main(["--rows", "10", "--only", "spark"])


def test_table_is_repeatable_and_describes_its_bad_cells(tmp_path: Path) -> None:
    for name in ("first", "second"):
        data_table.main(tmp_path / name, 3000, 1)
    first, second = (tmp_path / name / "csv" / "rows.csv" for name in ("first", "second"))
    table = Table.read(str(tmp_path / "first" / data_table.DESCRIPTION))
    header, *rows = first.read_text().replace('"', "").splitlines()

    assert first.read_bytes() == second.read_bytes()
    assert header.split(",") == list(table.types)
    assert (len(table.types), len(rows)) == (12, table.rows)
    assert table.bad == sum(row.split(",")[2] in ("unknown", "-7", "forty", "999") for row in rows) > 0


def test_rows_are_divided_over_files(tmp_path: Path) -> None:
    data_table.main(tmp_path, 100, 7)
    files = Table.read(str(tmp_path / data_table.DESCRIPTION)).files

    assert len(files) == 7
    assert sum(len(Path(file).read_text().splitlines()) - 1 for file in files) == 100


@pytest.mark.integration
@pytest.mark.parametrize("shape", [["--files", "3"], pytest.param(["--per-row"], marks=pytest.mark.soak)], ids=" ".join)
def test_project_is_measured_and_the_folder_deleted(
    shape: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, figures = tmp_path / "temporary", tmp_path / "figures.json"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))

    data.main(["--rows", "3000", "--rounds", "1", "--only", OWN, "--json", str(figures), *shape])

    assert "3000 x 12" in capsys.readouterr().out
    body = json.loads(figures.read_text())
    assert list(body["runs"]) == ([OWN, SMALL] if shape == ["--per-row"] else [OWN])
    for [run] in body["runs"].values():
        assert 0 < run["seconds"] < run["whole_seconds"]
        assert run["mebibytes"] > 50
    assert not list(folder.iterdir())


@pytest.mark.integration
def test_other_number_of_rejected_rows_is_an_error(tmp_path: Path) -> None:
    bench = data.Bench(tmp_path)
    folder = bench.table(Shape(rows=1000))
    good = 1000 - Table.read(str(folder / data_table.DESCRIPTION)).bad
    result = {"kept": good, "rejected": 0, "features": good, "seconds": 1, "cpu": 1}

    with pytest.raises(BenchmarkError, match=rf"are \({good}, 0, {good}\); expected \({good}, {1000 - good}, {good}\)"):
        bench.run(folder, [sys.executable, "-c", f"print({json.dumps(result)!r})"], is_copy=False)


@pytest.mark.integration
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_pandas_peer_judges_the_rows_as_the_project_does(shape: Shape, tmp_path: Path) -> None:
    bench = data.Bench(tmp_path)

    bench.run(bench.table(shape), [sys.executable, str(ROOT / "benchmarks" / "peers" / "data_pandas.py")], False)


@pytest.mark.slow
def test_peak_memory_adds_up_the_process_tree(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MEASURE, FAMILY, str(tmp_path / "log")]

    tree, largest = map(float, subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.split())

    assert tree > 400 > largest


@pytest.mark.integration
def test_generator_runs_as_a_module(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.data_table", str(tmp_path), "20", "0"]

    subprocess.run(command, cwd=ROOT, check=True)

    assert len((tmp_path / "csv" / "rows.csv").read_text().splitlines()[0].split(",")) == data_table.WIDE_COLUMNS
