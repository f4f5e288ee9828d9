"""A real Prometheus takes what the exporter says, and knows a run was killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ai_workflow.registry.registry import Registry
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import journal
from benchmarks import registry
from tests.monitoring import live_prometheus
from tests.monitoring.exporter import evaluations
from tests.monitoring.exporter.exporter_stores import Book, Exporting


@pytest.mark.slow
def test_prometheus_scrapes_exporter_and_detects_killed_run(tmp_path: Path) -> None:
    store = Store(tmp_path / "var")
    Book(store).run(0, journal.SUCCESS, "trainer")
    registry.fill(Registry(store, "models/production/credit"), 3)
    evaluations.write(store, "credit", "model_v1.2")
    with (
        Exporting(tmp_path / "var", AIW_ENVIRONMENT="production") as exporting,
        live_prometheus.prometheus(
            tmp_path / "prometheus", live_prometheus.scraping({"exporter": exporting.port})
        ) as prometheus,
    ):
        assert prometheus.until('up{job="exporter"} == 1')
        labeled = prometheus.until("model_labeled_predictions_total")[0]
        assert labeled["metric"]["model_version"] == "model_v1.2"
        assert labeled["value"][1] == "900"
        assert prometheus.until(f'scrape_samples_scraped{{job="exporter"}} == {len(exporting.metrics())}')
        # The next run fails; nobody has to tell.
        Book(store, "b" * 32).run(100, journal.ERROR, "trainer")
        failed = prometheus.until("pipeline_last_run_failed == 1 and pipeline_last_success_timestamp_seconds > 0")[0]
        assert failed["metric"]["pipeline"] == "credit"
        assert prometheus.until('pipeline_stage_last_failed{stage="trainer"} == 1')
