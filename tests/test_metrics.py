"""What the table of metrics promises: each is declared once, well formed, and the same object on every call."""

from __future__ import annotations

import prometheus_client
import pytest

from ai_workflow.telemetry import metrics


@pytest.mark.parametrize("metric", metrics.TABLE, ids=lambda metric: metric.name)
def test_declared_metrics_are_exposed_with_help(metric: metrics.Metric) -> None:
    made = metrics.get(metric.name)
    assert metrics.get(metric.name) is made
    labels = dict.fromkeys(metric.labels, "x")
    child = made.labels(**labels) if labels else made
    if metric.kind == "histogram":
        child.observe(1)
    else:
        child.inc()
    shown = prometheus_client.generate_latest().decode()
    assert f"# HELP {metric.name} {metric.help}\n# TYPE {metric.name} {metric.kind}\n" in shown


def test_metric_names_are_unique_and_follow_conventions() -> None:
    names = [metric.name for metric in metrics.TABLE]
    assert len(names) == len(set(names))
    for metric in metrics.TABLE:
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert bool(metric.buckets) == (metric.kind == "histogram")
        assert metric.buckets == tuple(sorted(metric.buckets))


def test_undeclared_metric_raises_key_error() -> None:
    with pytest.raises(KeyError, match="no_such_metric"):
        metrics.get("no_such_metric")
