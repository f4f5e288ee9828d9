"""The out-of-core label join beside the same join in DuckDB: CPU time and peak memory of one process each."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import peer_environment
from benchmarks.measure import BenchmarkError, Cost, cost, machine

ROOT = Path(__file__).resolve().parent.parent
PAIRS, ROUNDS = 1_000_000, 3
OWN, DUCKDB = "own", "DuckDB"
# Memory that DuckDB may use before it writes to disk.
MEMORY_LIMITS = ("400MB", "1GB")
_REQUIREMENTS = ("duckdb==2.0.1", "pyarrow==22.0.0")
_BATCH_ROWS = 20_000
# Multiplication by it permutes 0 .. n - 1 for every n that is no multiple of it.
_STRIDE = 7919


def main(given: Sequence[str] = ()) -> None:
    """Measure, and print CPU time and peak memory with their ratios to the own join."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks label_join", description=__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS, help="labels, and predictions")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only-own", action="store_true", help="do not install and measure DuckDB")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    options = parser.parse_args(given)
    with tempfile.TemporaryDirectory(prefix="label-join-") as name:
        folder = Path(name)
        files = [str(path) for path in write(folder, options.pairs)]
        commands = {OWN: [sys.executable, "-m", "benchmarks.label_join_own", *files]}
        if not options.only_own:
            python = str(peer_environment.python("duckdb", _REQUIREMENTS))
            script = str(ROOT / "benchmarks" / "peers" / "join_duckdb.py")
            commands |= {f"{DUCKDB}, limit {limit}": [python, script, *files, limit] for limit in MEMORY_LIMITS}
        costs: dict[str, list[Cost]] = {subject: [] for subject in commands}
        for _ in range(options.rounds):
            for subject, command in commands.items():
                costs[subject].append(_measured(command, folder, options.pairs))
    print(f"{machine()}; {options.pairs} pairs, {options.rounds} rounds, medians\n")
    print(render(costs))
    if options.json:
        figures = {
            subject: [[each.cpu, each.mebibytes] for each in each_costs] for subject, each_costs in costs.items()
        }
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


def write(folder: Path, pairs: int) -> tuple[Path, Path]:
    """Write labels and predictions as Parquet files, both in the same random order of their keys."""
    labels, predictions = folder / "labels.parquet", folder / "predictions.parquet"
    time_type = pa.timestamp("us")
    with (
        pq.ParquetWriter(
            labels, pa.schema([("key", pa.string()), ("label", pa.string()), ("time", time_type)])
        ) as first,
        pq.ParquetWriter(
            predictions,
            pa.schema(
                [("key", pa.string()), ("version", pa.string()), ("prediction", pa.string()), ("made", time_type)]
            ),
        ) as second,
    ):
        for start in range(0, pairs, _BATCH_ROWS):
            numbers = np.arange(start, min(pairs, start + _BATCH_ROWS), dtype=np.int64) * _STRIDE % pairs
            keys = pa.array([f"01J{number:023d}" for number in numbers])
            texts = pa.array([str(number % 3) for number in numbers])
            times = pa.array(1_700_000_000_000_000 + numbers * 1000, time_type)
            versions = pa.array(np.where(numbers % 2, "model_v1.0", "model_v1.1").tolist())
            first.write_table(pa.table([keys, texts, times], schema=first.schema))
            second.write_table(pa.table([keys, versions, texts, times], schema=second.schema))
    return labels, predictions


def _measured(command: Sequence[str], folder: Path, pairs: int) -> Cost:
    log = folder / "output.log"
    result = cost(command, os.environ, ROOT, log)
    if log.read_text().split()[-1:] != [str(pairs)]:
        raise BenchmarkError(f"`{' '.join(command)}` joined other rows: {log.read_text()[-400:]}")
    return result


def render(costs: Mapping[str, Sequence[Cost]]) -> str:
    """Return the table: medians of CPU time and peak memory, and their ratios to the own join."""
    lines = [f"{'':<20}{'CPU s':>8}{'ratio':>8}{'MiB':>8}{'ratio':>8}"]
    medians = {
        subject: (
            statistics.median(each.cpu for each in each_costs),
            statistics.median(each.mebibytes for each in each_costs),
        )
        for subject, each_costs in costs.items()
    }
    own_cpu, own_memory = medians[OWN]
    for subject, (cpu, memory) in medians.items():
        lines.append(f"{subject:<20}{cpu:>8.1f}{cpu / own_cpu:>8.2f}{memory:>8.0f}{memory / own_memory:>8.2f}")
    return "\n".join(lines)
