"""An alert that fires after the service was killed and restarted has a trace: evaluated by promtool.

A restarted service has no examples of requests. Inputs and expected values are written by hand.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.monitoring import prometheus_tools
from tests.monitoring.fired_alerts import MINUTES, NEW, OLD, WHO, fallback, fired, of_version, requests

pytestmark = pytest.mark.slow
SCRAPE = "15s"
# Of 4 scrapes a minute, the second last finds no service, and the last finds a new process.
LAST = 4 * MINUTES - 2
SHARP, GREW, STOOD = f"0+40x{LAST} stale 0", f"0+10x{LAST} stale 0", f"1x{LAST} stale _"
OF_NEW = f'{WHO},model_version="{NEW}"'


def examples(kind: str, more: str = "") -> dict[str, str]:
    """Return an example of a request that another one replaced, which stood until the service was killed."""
    name = f'inference_example_info{{{OF_NEW},kind="{kind}"{more},trace_id='
    replaced = LAST - 30
    return {
        f'{name}"replaced_{kind}"}}': f"1x{replaced} stale",
        f'{name}"newest_{kind}"}}': f"_x{replaced + 1} 1x{LAST - replaced - 1} stale",
    }


FAULT = {
    requests("error"): SHARP,
    requests("fallback"): GREW,
    of_version(NEW, "error"): GREW,
    fallback(NEW, "crashed"): GREW,
    f"model_breaker_state{{{OF_NEW}}}": STOOD,
    f'model_worker_restarts_total{{{OF_NEW},reason="crashed"}}': GREW,
    f"inference_rows_total{{{OF_NEW}}}": GREW,
    f'inference_unseen_category_total{{{OF_NEW},column="city"}}': GREW,
    f"inference_request_latency_seconds_count{{{WHO}}}": GREW,
    f'inference_request_latency_seconds_bucket{{{WHO},le="0.2"}}': f"0x{LAST} stale 0",
}


@pytest.mark.parametrize(
    ("group", "alert", "kind", "more"),
    [
        ("service", "InferenceAcuteErrors", "error", ""),
        ("service", "ModelBreakerOpen", "error", ""),
        ("service", "ModelProcessRestarting", "crash", ""),
        ("service", "ModelFailureRatioHigh", "error", ""),
        ("service", "InferenceFallbackRatioHigh", "fallback", ""),
        ("service", "InferenceUnseenCategories", "unseen", ',column="city"'),
        ("slo-availability", "SLOErrorBudgetBurn", "error", ""),
        ("slo-availability", "ErrorBudgetExhausted", "error", ""),
        ("slo-latency", "SLOErrorBudgetBurn", "slow", ""),
    ],
)
def test_alert_after_kill_has_newest_trace(group: str, alert: str, kind: str, more: str, tmp_path: Path) -> None:
    alerts = fired(tmp_path, group, alert, FAULT | examples(kind, more), SCRAPE)
    assert alerts
    assert {one.get("trace_id") for one in alerts} == {f"newest_{kind}"}


def test_exemplar_of_restarted_service_has_priority(tmp_path: Path) -> None:
    new = {f'inference_example_info{{{OF_NEW},kind="timeout",trace_id="of_new_process"}}': f"_x{LAST + 2} 1"}
    (alert,) = fired(tmp_path, "service", "ModelFailureRatioHigh", FAULT | examples("error") | new, SCRAPE)
    assert alert["trace_id"] == "of_new_process"


def test_alert_omits_trace_of_other_pipeline_or_version(tmp_path: Path) -> None:
    series = {name.replace("fraud", "other"): value for name, value in examples("error").items()}
    series |= {name.replace(NEW, OLD): value for name, value in examples("error").items()}
    (alert,) = fired(tmp_path, "service", "ModelFailureRatioHigh", FAULT | series, SCRAPE)
    assert not alert.get("trace_id")


def test_alert_names_latest_version_during_restart(tmp_path: Path) -> None:
    """Both versions fail alike; which of them is `latest` is not shown until the service has loaded it."""
    series = {
        requests("error"): SHARP,
        of_version(OLD, "error"): SHARP,
        of_version(NEW, "error"): SHARP,
        f'model_info{{{OF_NEW},alias="latest"}}': STOOD,
        f'model_info{{{WHO},model_version="{OLD}",alias="stable"}}': STOOD,
    }
    for first, second in ((OLD, NEW), (NEW, OLD)):
        swapped = {
            name.replace(OLD, "?").replace(NEW, second).replace("?", first): value for name, value in series.items()
        }
        (alert,) = fired(tmp_path, "service", "InferenceAcuteErrors", swapped, SCRAPE)
        assert alert["model_version"] == second


def test_request_alerts_look_up_exemplars_over_time_window() -> None:
    """An example that is looked up at one moment is not found after a restart."""
    notes = [
        (rule["alert"], rule["annotations"].get("trace_id", ""))  # type: ignore[attr-defined]
        for held in prometheus_tools.groups().values()
        for rule in held
        if "alert" in rule
    ]
    about = {alert: note for alert, note in notes if "inference_example_info" in note}
    assert {"SLOErrorBudgetBurn", "ErrorBudgetLow", "InferenceAcuteErrors", "ModelBreakerOpen"} <= about.keys()
    assert [alert for alert, note in about.items() if "max_over_time(timestamp(" not in note] == []
