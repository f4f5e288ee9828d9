"""The exporter benchmark: its journal is one that the exporter takes for real, and it reports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ai_workflow.storage.store import Store
from ai_workflow.telemetry import journal
from ai_workflow.telemetry.journal import Journal
from benchmarks.exporter import PIPELINES, STAGES, fill

ROOT = Path(__file__).parents[2]


def test_filled_journal_is_valid(tmp_path: Path) -> None:
    fill(Store(tmp_path), 10)
    book = Journal(Store(tmp_path))
    runs = [book.read(trace_id) for trace_id in book.trace_ids()]
    assert [journal.outcome(events) for events in runs] == ["failed in trainer", *["finished"] * 9]
    assert {events[0].pipeline for events in runs} == set(PIPELINES)
    assert [event.stage for event in runs[1] if event.status == journal.SUCCESS] == [*STAGES, journal.RUN]


@pytest.mark.soak
def test_exporter_benchmark_measures_and_reports(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "exporter", "--runs", "20", "--seconds", "1"]
    done = subprocess.run(
        [*command, "--json", tmp_path / "found.json"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "20 runs in the journal" in done.stdout
    found = json.loads((tmp_path / "found.json").read_text())
    assert list(found) == ["cpu share", "scrape s", "start s", "memory MiB", "request us"]
    assert all(0 <= least <= median <= most for least, median, most in found.values())
