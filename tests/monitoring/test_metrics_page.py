"""The page of metrics is the table: nothing on it is written by hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ai_workflow.slo.outputs import metrics_page
from ai_workflow.telemetry import metrics

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "metrics.md"


def test_metrics_page_is_current_and_lists_each_metric_once() -> None:
    text = PAGE.read_text()
    assert text == metrics_page.page(), "run: ai-workflow slo metrics"
    for metric in metrics.TABLE:
        assert text.count(f"| `{metric.name}` | {metric.kind} |") == 1


def test_slo_metrics_command_writes_page() -> None:
    before = PAGE.stat().st_mtime_ns
    subprocess.run([sys.executable, "-m", "ai_workflow", "slo", "metrics"], cwd=ROOT, check=True)
    assert PAGE.stat().st_mtime_ns > before
