"""What theory says of how soon a fault is in chat, by the project's own promises."""

from __future__ import annotations

from ai_workflow.slo import reader
from benchmarks import alerting


def test_alert_latency_bound_is_sum_of_configured_delays() -> None:
    spec = reader.load()
    bounds = {fault.alert: fault.bound(spec) for fault in alerting.faults(spec)}
    scrape, evaluation = 15, 15
    assert bounds == {
        "InferenceAcuteErrors": 30 + scrape + evaluation + 5,
        "TrainingRunFailed": 1 + scrape + evaluation + 30,
        "InferenceTargetDown": scrape + evaluation + 60 + 5,
    }
