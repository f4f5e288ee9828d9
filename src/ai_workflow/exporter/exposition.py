"""Exposition of samples through prometheus_client, with types and help texts of the metric table."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ai_workflow.exporter.samples import Sample
from ai_workflow.telemetry import metrics


class StoreCollector(Collector):
    """All metrics of the exporter; `samples` returns their values at the time of a scrape."""

    def __init__(self, samples: Callable[[], list[Sample]]) -> None:
        self._samples = samples

    def describe(self) -> list[Metric]:
        """Return the metrics without values."""
        return list(_families().values())

    def collect(self) -> Iterator[Metric]:
        """Yield each metric with its values."""
        families = _families()
        for sample in self._samples():
            families[sample.name].add_metric(sample.labels, sample.value)
        yield from families.values()


def _families() -> dict[str, CounterMetricFamily | GaugeMetricFamily]:
    classes = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily}
    return {
        metric.name: classes[metric.kind](metric.name, metric.help, labels=metric.labels) for metric in metrics.EXPORTER
    }
