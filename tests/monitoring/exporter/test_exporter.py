"""The exporter as a process: it shows what happens to a store, a kill too, and the same after it was restarted."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ai_workflow.config import loader
from ai_workflow.exporter.exporter import Exporter
from ai_workflow.registry.registry import Registry
from ai_workflow.storage import run_lock
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import journal, metrics
from ai_workflow.training.checkpoints import Checkpoints
from benchmarks import registry
from tests import ending_commands, processes
from tests.monitoring.exporter import evaluations
from tests.monitoring.exporter.exporter_stores import ROOT, Book, Exporting, scrape, told

pytestmark = pytest.mark.integration

RUN = """
import sys, time
from ai_workflow.telemetry import instrumentation as observe; from ai_workflow.storage import run_lock
from ai_workflow.telemetry.journal import Journal
from ai_workflow.storage.store import Store
store, trace_id = Store(sys.argv[1]), "b" * 32
run_lock.acquire(store, "the-run", run_lock.Holder(trace_id, "first"))
watching = [observe.JournalObserver(Journal(store))]
def visit(stage):
    return observe.stage(observe.StageExecution(trace_id, "credit", "training", stage, "the-run"), watching)
with visit("run"), visit("trainer"):
    print("training", flush=True)
    time.sleep(120)
"""
OF_RUN = '{flow="training",pipeline="credit"}'
OF_TRAINER = '{pipeline="credit",stage="trainer"}'


def _training(store: Store) -> subprocess.Popen[str]:
    process = processes.start(RUN, store.root)
    assert process.stdout
    assert process.stdout.readline() == "training\n"
    return process


@pytest.mark.slow
def test_metrics_are_correct_after_killed_run_and_exporter_restart(tmp_path: Path) -> None:
    store = Store(tmp_path / "var")
    Book(store).run(0, journal.SUCCESS, "trainer")
    with Exporting(tmp_path / "var") as exporting:
        before = exporting.until(lambda found: found.get(f"pipeline_run_active{OF_RUN}") == 0)
        began = time.time()
        process = _training(store)
        active = exporting.until(lambda found: found[f"pipeline_run_active{OF_RUN}"] == 1)
        assert active['training_run_active{pipeline="credit"}'] == 1
        assert active[f"pipeline_last_run_failed{OF_RUN}"] == 0, "the last run that is over"
        assert began - 1 < active[f"pipeline_last_start_timestamp_seconds{OF_RUN}"] < began + 60
        # Stopped or swapped out, it still lives.
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        assert exporting.metrics()[f"pipeline_run_active{OF_RUN}"] == 1
        assert run_lock.status(store, "the-run").is_held, "the exporter only looks"
        process.kill()
        process.communicate()
        dead = exporting.until(lambda found: found[f"pipeline_run_active{OF_RUN}"] == 0)
    assert dead['training_run_active{pipeline="credit"}'] == 0
    assert dead['training_last_run_failed{pipeline="credit"}'] == dead[f"pipeline_last_run_failed{OF_RUN}"] == 1
    assert dead[f"pipeline_stage_last_failed{OF_TRAINER}"] == 1
    for name in (f"pipeline_last_success_timestamp_seconds{OF_RUN}",
                 f"pipeline_stage_last_success_timestamp_seconds{OF_TRAINER}"):  # fmt: skip
        assert dead[name] == before[name]
    with Exporting(tmp_path / "var") as restarted:
        assert _of_runs(restarted.metrics()) == _of_runs(dead)


def _of_runs(found: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in found.items() if name.startswith(("pipeline_", "training_"))}


def test_exporter_exports_exactly_documented_metrics(tmp_path: Path) -> None:
    store = Store(tmp_path / "var")
    Book(store).run(0, journal.SUCCESS, "data_loader", "trainer")
    Checkpoints(store, "credit", "f" * 16, keep=3).save(50, b"state", {})
    registry.fill(Registry(store, "models/production/credit"), 3)
    evaluations.write(store, "credit", "model_v1.2")
    more = tmp_path / "more.yaml"
    more.write_text("monitoring: {expected_hours: {training: 24}}\n")
    with Exporting(tmp_path / "var", AIW_ENVIRONMENT="production", AIW_CONFIG=str(more)) as exporting:
        shown = exporting.metrics()
        names = {name.partition("{")[0] for name in shown}
        text = scrape(exporting.port)
        openmetrics = scrape(exporting.port, "application/openmetrics-text;version=1.0.0")
    ours = {name for name in names if not name.startswith(("process_", "python_"))}
    assert ours == {metric.name for metric in metrics.EXPORTER}
    assert {"process_cpu_seconds_total", "process_resident_memory_bytes"} <= names
    assert shown[f"pipeline_expected_interval_seconds{OF_RUN}"] == 86400
    assert all(value == 0 for name, value in shown.items() if name.startswith("exporter_source_failures_total"))
    for metric in metrics.EXPORTER:
        assert f"# HELP {metric.name} {metric.help}\n# TYPE {metric.name} {metric.kind}\n" in text
    assert openmetrics.endswith("# EOF\n")
    assert "_created" not in text + openmetrics


def test_missing_store_is_not_failure_and_not_created(tmp_path: Path) -> None:
    settings = loader.load(root=ROOT, env={}, overrides={"store.root": str(tmp_path / "nothing" / "yet")}).settings
    exporter = Exporter(settings, {})
    exporter.collector.collect()
    found = told(exporter.collector.samples())
    assert not any(value for name, value in found.items() if name.startswith("exporter_source_failures_total"))
    assert found["model_store_available_bytes"] > 0
    assert list(tmp_path.iterdir()) == []


def test_exporter_stops_on_signal_and_reports_used_port(tmp_path: Path) -> None:
    store = tmp_path / "not yet"
    with Exporting(store) as exporting:
        command = ["-m", "ai_workflow", "exporter", "--store", str(store), "--port", str(exporting.port)]
        second = ending_commands.run([sys.executable, *command], cwd=ROOT)
        exporting.process.send_signal(signal.SIGTERM)
        _, log = exporting.process.communicate(timeout=120)
    assert exporting.process.returncode == 0
    assert "stopped" in log
    assert second.returncode == 2
    assert f"port {exporting.port} of 127.0.0.1 is taken by another process" in second.stderr
    assert "Traceback" not in second.stderr + log
