"""A real Prometheus takes what the exporter says, and knows a run was killed."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from ai_workflow import journal
from ai_workflow.store import Store
from tests import services
from tests.monitoring.exporter import evaluations
from tests.monitoring.exporter.places import Book, Exporting

CONFIG = """
global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: exporter
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


@contextmanager
def prometheus(folder: Path, target: int) -> Iterator[str]:
    """Start a Prometheus that scrapes a port, and give its address; skips the test where there is none."""
    if not shutil.which("prometheus"):
        pytest.skip("no Prometheus: apt-get install prometheus")
    port = services.free_port()
    (folder / "prometheus.yml").write_text(CONFIG.format(port=target))
    command = ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=error"]
    process = subprocess.Popen(
        [*command, f"--web.listen-address=127.0.0.1:{port}"], cwd=folder,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def ask(url: str, query: str) -> list[dict[str, Any]]:
    """Return what a query finds; nothing as long as nobody answers."""
    try:
        with urlopen(f"{url}/api/v1/query?{urlencode({'query': query})}", timeout=10) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
            return found
    except OSError:
        return []


def until(url: str, query: str, seconds: float = 30.0) -> list[dict[str, Any]]:
    """Ask until something is found, and return it; fail the test where nothing is."""
    deadline = time.monotonic() + seconds
    while not (found := ask(url, query)):
        assert time.monotonic() < deadline, f"{query} finds nothing"
        time.sleep(0.1)
    return found


@pytest.mark.slow
def test_prometheus_takes_what_the_exporter_says(tmp_path: Path) -> None:
    store = Store(tmp_path / "var")
    Book(store).run(0, journal.SUCCESS, "trainer")
    evaluations.write(store, "credit", "model_v1.2")
    with Exporting(tmp_path / "var") as exporting, prometheus(tmp_path, exporting.port) as url:
        assert until(url, 'up{job="exporter"} == 1')
        labeled = until(url, "model_labeled_predictions_total")[0]
        assert labeled["metric"]["model_version"] == "model_v1.2"
        assert labeled["value"][1] == "900"
        assert not ask(url, 'scrape_samples_scraped{job="exporter"} < 40')
        # The next run fails; nobody has to tell.
        Book(store, "b" * 32).run(100, journal.ERROR, "trainer")
        failed = until(url, "pipeline_last_run_failed == 1 and pipeline_last_success_timestamp_seconds > 0")[0]
        assert failed["metric"]["pipeline"] == "credit"
        assert until(url, 'pipeline_stage_last_failed{stage="trainer"} == 1')
