"""What theory says of how soon a fault is in chat, by the project's own promises."""

from __future__ import annotations

from ai_workflow.slo import reader
from benchmarks import alerting


def test_the_bound_is_the_sum_of_what_an_alert_waits_for() -> None:
    spec = reader.load()
    bounds = {fault.alert: fault.bound(spec) for fault in alerting.faults(spec)}
    scrape, evaluation = 15, 15
    assert bounds == {
        "InferenceAcuteErrors": 30 + scrape + evaluation + 5,
        "TrainingRunFailed": 1 + scrape + evaluation + 30,
        "InferenceTargetDown": scrape + evaluation + 60 + 5,
    }
