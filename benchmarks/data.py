"""CSV to features in this project, Polars, DuckDB and pandas, and a bare DuckDB COPY, one process each, in turns."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks import data_report, peer_environment
from benchmarks.data_report import COPY, OWN, POLARS, SMALL, Run, Shape
from benchmarks.measure import BenchmarkError, cores, cost, machine
from benchmarks.peer_environment import PeerUnavailableError
from benchmarks.peers.data_job import Table

ROOT = Path(__file__).resolve().parent.parent
ROWS, ROUNDS, WIDE_ROWS = 1_000_000, 3, 400
PEERS = {COPY: "data_copy.py", POLARS: "data_polars.py", "DuckDB": "data_duckdb.py", "pandas": "data_pandas.py"}
REQUIREMENTS = ("duckdb==2.0.1", "polars==2.1.0", "pandas==3.1.1", "numpy==2.4.6", "pyarrow==26.0.1")
_SMALLER, _WARM_UP_ROWS = 10, 1000


def main(arguments: Sequence[str] = ()) -> None:
    """Measure, and print times, memory, ratios and goals.

    Raises:
        BenchmarkError: an unknown name, or a process failed or kept, rejected or transformed another number of rows.
    """
    options = _parser().parse_args(arguments)
    subjects = _subjects(options.only)
    shape = Shape(rows=options.rows, wide=options.wide, files=options.files)
    if shape.wide:
        shape = Shape(rows=min(options.rows, WIDE_ROWS), wide=True)
    about = machine()
    with tempfile.TemporaryDirectory(prefix="data-benchmark-") as name:
        bench = Bench(Path(name))
        tables = {subject: bench.table(shape) for subject in subjects}
        if options.per_row:
            tables[SMALL] = bench.table(Shape(rows=max(1, shape.rows // _SMALLER)))
        commands, skipped = _commands(subjects)
        runs: dict[str, list[Run]] = {subject: [] for subject in tables if subject == SMALL or subject in commands}
        for subject in runs:
            # Reads programs and libraries from the disk.
            bench.run(bench.table(Shape(rows=_WARM_UP_ROWS)), commands.get(subject), subject == COPY)
        for _ in range(options.rounds):
            for subject, measured in runs.items():
                measured.append(bench.run(tables[subject], commands.get(subject), subject == COPY))
    goals = data_report.goals(runs, shape)
    versions = f"peers: {', '.join(REQUIREMENTS)}" if len(commands) > 1 else "no peers"
    print(f"{shape}, {options.rounds} rounds, {about}\n{versions}\n")
    print(data_report.render(runs, goals, skipped))
    if options.json:
        figures = {subject: [asdict(run) for run in measured] for subject, measured in runs.items()}
        body = {"machine": about, "shape": asdict(shape), "runs": figures, "goals": [asdict(goal) for goal in goals]}
        options.json.write_text(json.dumps(body, indent=1) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks data", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, help=f"rows of the table ({ROWS})")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--wide", action="store_true", help=f"{WIDE_ROWS} rows with 2000 columns")
    shape.add_argument("--files", type=int, default=1, help="divide the rows into this number of files (1)")
    shape.add_argument("--per-row", action="store_true", help=f"also measure 1/{_SMALLER} of the rows")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"runs of each ({ROUNDS})")
    parser.add_argument("--only", help=f"comma-separated names: {', '.join([OWN, *PEERS])}")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    return parser


class Bench:
    """A folder with the generated tables and the output of one process at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def table(self, shape: Shape) -> Path:
        """Write a table once, in a process of its own because this process has to stay small; return its folder."""
        folder = self._folder / f"{shape.rows}-{shape.files}-{shape.wide}"
        if not folder.exists():
            files = 0 if shape.wide else shape.files
            command = [sys.executable, "-m", "benchmarks.data_table", str(folder), str(shape.rows), str(files)]
            subprocess.run(command, cwd=ROOT, check=True)
        return folder

    def run(self, table: Path, peer: Sequence[str] | None, is_copy: bool) -> Run:
        """Run the project, or a peer by its command, and check its number of rows.

        Raises:
            BenchmarkError: the process failed, or its number of rows is wrong.
        """
        output = self._folder / "output"
        log = self._folder / "log.txt"
        output.mkdir()
        if peer is None:
            command = [sys.executable, "-m", "benchmarks.data_own", str(table / "pipeline.yaml")]
        else:
            command = [*peer, str(table / "table.json"), str(output), str(cores())]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AIW_")}
        whole = cost(command, {**environment, "AIW_STORE": str(output)}, ROOT, log, tree=True)
        shutil.rmtree(output)
        result = json.loads(log.read_text().splitlines()[-1])
        _check(result, Table.read(str(table / "table.json")), is_copy)
        return Run(result["seconds"], result["cpu"], whole.seconds, whole.mebibytes)


def _check(result: Mapping[str, float], table: Table, is_copy: bool) -> None:
    good = table.rows - table.bad
    expected = (table.rows, 0, 0) if is_copy else (good, table.bad, good)
    counts = tuple(result[name] for name in ("kept", "rejected", "features"))
    if counts != expected:
        raise BenchmarkError(f"rows kept, rejected and transformed are {counts}; expected {expected}")


def _subjects(only: str | None) -> list[str]:
    """Return the names that were chosen, or all.

    Raises:
        BenchmarkError: there is no subject of that name.
    """
    known = [OWN, *PEERS]
    subjects = only.split(",") if only else known
    unknown = sorted(set(subjects) - set(known))
    if unknown:
        raise BenchmarkError(f"--only: unknown {', '.join(unknown)}; known are {', '.join(known)}")
    return subjects


def _commands(subjects: Sequence[str]) -> tuple[dict[str, list[str] | None], str | None]:
    """Return the command of each peer, None for the project, and why peers are skipped."""
    commands: dict[str, list[str] | None] = {OWN: None} if OWN in subjects else {}
    peers = [name for name in subjects if name != OWN]
    if not peers:
        return commands, None
    try:
        python = str(peer_environment.python("data", REQUIREMENTS))
    except PeerUnavailableError as error:
        return commands, str(error)
    folder = ROOT / "benchmarks" / "peers"
    return commands | {name: [python, str(folder / PEERS[name])] for name in peers}, None
