"""What Prefect and our own machinery add to a training: bare calls, a first run and a cached run, side by side."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from ai_workflow.config import loader
from ai_workflow.local import prefect_settings, server
from ai_workflow.registry.registry import Registry
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import journal
from benchmarks import customers, overhead_report
from benchmarks.measure import BenchmarkError, Cost, cost, machine
from benchmarks.overhead_report import BARE, CACHED, COLD, IMPORT, Costs

ROOT = Path(__file__).resolve().parent.parent
ROWS = 200_000
PAIRS = 5
# The server still has events of the last run to store; they are no cost of the next one.
SETTLE_SECONDS = 1.0
FOLDERS = ("src", "flows", "deploy", "benchmarks")


class Bench:
    """One folder with a source, a server and the stores of the runs, and how to run each thing in it."""

    def __init__(self, folder: Path, pipeline: Path | None, reached: server.Server) -> None:
        self._folder, self._server = folder, reached
        self._pipeline = pipeline
        self._models = loader.load(pipeline, root=ROOT).settings.models
        self._bare = ["-m", "benchmarks.bare_training", *([str(pipeline)] if pipeline else [])]
        self._flow = ["-m", "ai_workflow", "run", "training", *(["--pipeline", str(pipeline)] if pipeline else [])]

    def round(self) -> dict[str, Cost]:
        """Run everything once, each with a store that is empty at first.

        Raises:
            BenchmarkError: a stage was cached that should not be, or the other way round, or the models differ.
        """
        bare, flow = self._folder / "bare", self._folder / "flow"
        for store in (bare, flow):
            shutil.rmtree(store, ignore_errors=True)
        found = {IMPORT: self._run(["-c", "from prefect import flow, task"], flow), BARE: self._run(self._bare, bare)}
        found[COLD] = self._run(self._flow, flow)
        _expect(flow, journal.SUCCESS)
        found[CACHED] = self._run(self._flow, flow)
        _expect(flow, journal.CACHED)
        if _model(bare, self._models) != _model(flow, self._models):
            raise BenchmarkError("bare calls and flow made different models: bare_training.py is no mirror any more")
        return found

    def _run(self, arguments: list[str], store: Path) -> Cost:
        time.sleep(SETTLE_SECONDS)
        settings = loader.load(self._pipeline, root=ROOT, env={"AIW_STORE": str(store)}).settings
        variables = {"AIW_STORE": str(store), **prefect_settings.environment(self._server, settings, self._folder)}
        return cost([sys.executable, *arguments], {**os.environ, **variables}, ROOT, self._folder / "output.log")


def main(given: list[str]) -> None:
    """Measure, print the tables and the goals, and write them as JSON on request.

    Raises:
        BenchmarkError: something did not run as it should, so there is nothing to report.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks overhead", description=__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS, help=f"rounds after one that warms up ({PAIRS})")
    parser.add_argument("--sample", action="store_true", help="the shipped sample, not 200 000 made-up rows")
    parser.add_argument("--json", type=Path, help="write every figure there too")
    options = parser.parse_args(given)
    about = machine()
    source = "the digits sample" if options.sample else f"{ROWS} x 12 made-up rows"
    subprocess.run([sys.executable, "-m", "compileall", "-q", *FOLDERS], cwd=ROOT, check=True)
    with _bench(options.sample) as bench:
        bench.round()
        rounds = [bench.round() for _ in range(options.pairs)]
    costs: Costs = {name: [each[name] for each in rounds] for name in rounds[0]}
    goals = overhead_report.goals(costs)
    print(overhead_report.render(costs, goals, f"{source}, {options.pairs} rounds, {about}"))
    if options.json:
        runs = {name: [asdict(each) for each in those] for name, those in costs.items()}
        body = {"machine": about, "source": source, "runs": runs, "goals": [asdict(goal) for goal in goals]}
        options.json.write_text(json.dumps(body, indent=1) + "\n")


@contextmanager
def _bench(sample: bool) -> Iterator[Bench]:
    """Give a bench in a folder of its own, with a server of its own, both gone afterwards."""
    for name in [name for name in os.environ if name.startswith(("PREFECT_", "AIW_"))]:
        del os.environ[name]
    os.environ["DO_NOT_TRACK"] = "1"
    with tempfile.TemporaryDirectory(prefix="aiw-benchmark-") as name:
        folder = Path(name)
        try:
            yield Bench(folder, None if sample else _pipeline(folder), server.ensure(folder))
        finally:
            server.stop(folder)


def _pipeline(folder: Path) -> Path:
    table, pipeline = folder / "customers.csv", folder / "pipeline.yaml"
    # In a process of its own, since this one has to stay small.
    command = [sys.executable, "-m", "benchmarks.customers", str(table), str(ROWS)]
    subprocess.run(command, cwd=ROOT, check=True)
    pipeline.write_text(customers.PIPELINE.format(path=table))
    return pipeline


def _expect(root: Path, status: str) -> None:
    """Check by the journal that every stage of the last run ended so."""
    book = journal.Journal(Store(root))
    events = [event for event in book.read(book.trace_ids()[0]) if event.stage != journal.RUN]
    ended = {event.stage: event.status for event in events if event.status != journal.STARTED}
    if len(ended) < 5 or set(ended.values()) != {status}:
        raise BenchmarkError(f"every stage should have ended as {status}, but: {ended}")


def _model(root: Path, folder: str) -> str:
    return str(Registry(Store(root), folder).get("latest").manifest["model"])
