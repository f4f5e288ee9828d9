"""An alert about a pipeline names the version at fault, and no version where none is: evaluated by promtool.

Inputs and expected values are written by hand; they share no code with the generated tests.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.monitoring import prometheus_tools
from tests.monitoring.fired_alerts import MINUTES, NEW, OLD, WHO, Series, fired, of_version, requests

pytestmark = pytest.mark.integration


@pytest.mark.slow
def test_few_rejected_requests_do_not_alert(tmp_path: Path) -> None:
    """40 of 90 000 and 8 of 5 400 000: both are far below the budget of 0.1 %."""
    for rejected, answered in ((40, 1000), (8, 60_000)):
        series = {
            requests("rejected"): f"0x30 {rejected}x{MINUTES}",
            requests("success"): f"0+{answered}x{MINUTES}",
            of_version(NEW, "success"): f"0+{answered}x{MINUTES}",
        }

        assert fired(tmp_path, "slo-availability", "SLOErrorBudgetBurn", series) == []
        assert fired(tmp_path, "service", "InferenceAcuteErrors", series) == []


@pytest.mark.slow
def test_alert_on_rejected_requests_has_no_version(tmp_path: Path) -> None:
    series = {
        requests("rejected"): f"0+300x{MINUTES}",
        requests("success"): f"0+700x{MINUTES}",
        of_version(NEW, "success"): f"0+700x{MINUTES}",
        of_version(NEW, "timeout"): f"0+2x{MINUTES}",
        f'inference_refused_total{{{WHO},model_version="{NEW}",reason="busy"}}': f"0+300x{MINUTES}",
    }

    alerts = fired(tmp_path, "slo-availability", "SLOErrorBudgetBurn", series)

    assert alerts
    for alert in alerts:
        assert alert["model_version"] == ""
        assert "fraud_v" not in alert["summary"]
        assert re.search(r"30% of events are bad; the error budget burns", alert["summary"])


@pytest.mark.parametrize("status", ["timeout", pytest.param("error", marks=pytest.mark.slow)])
def test_alert_names_failing_version_not_fallback_version(tmp_path: Path, status: str) -> None:
    series = {
        requests(status): f"0+300x{MINUTES}",
        requests("success"): f"0+700x{MINUTES}",
        of_version(NEW, "success"): f"0+700x{MINUTES}",
        of_version(NEW, status): f"0+300x{MINUTES}",
        of_version(OLD, "error"): f"0+100x{MINUTES}",
        of_version(OLD, "fallback"): f"0+200x{MINUTES}",
    }

    for alert in fired(tmp_path, "slo-availability", "SLOErrorBudgetBurn", series):
        assert alert["model_version"] == NEW
        assert f"30% of events are bad, most of them by {NEW};" in alert["summary"]


def test_alert_names_version_with_open_breaker(tmp_path: Path) -> None:
    series = {
        requests("error"): f"0+1000x{MINUTES}",
        f'inference_refused_total{{{WHO},model_version="{NEW}",reason="crashed"}}': f"0+990x{MINUTES}",
        of_version(NEW, "error"): f"0+10x{MINUTES}",
    }

    (alert,) = fired(tmp_path, "service", "InferenceAcuteErrors", series)

    assert alert["model_version"] == NEW


def test_alert_names_latest_when_multiple_versions_fail(tmp_path: Path) -> None:
    """By its name the first one is neither the first nor the last."""
    series = {requests("error"): f"0+1000x{MINUTES}"}
    for name in ("fraud_v1", NEW, "fraud_v9"):
        series[of_version(name, "error")] = f"0+1000x{MINUTES}"
    series[f'model_info{{{WHO},model_version="{NEW}",alias="latest"}}'] = f"1x{MINUTES}"
    series[f'model_info{{{WHO},model_version="fraud_v1",alias="stable"}}'] = f"1x{MINUTES}"

    (alert,) = fired(tmp_path, "service", "InferenceAcuteErrors", series)

    assert alert["model_version"] == NEW


@pytest.mark.slow
def test_latency_alert_names_slow_version(tmp_path: Path) -> None:
    def seconds(name: str, labels: str, count: int, fast: int) -> Series:
        return {
            f"{name}_count{{{labels}}}": f"0+{count}x{MINUTES}",
            f'{name}_bucket{{{labels},le="0.2"}}': f"0+{fast}x{MINUTES}",
        }

    series = {
        **seconds("inference_request_latency_seconds", WHO, 1000, 600),
        **seconds("inference_latency_seconds", f'{WHO},model_version="{NEW}"', 1000, 600),
        **seconds("inference_latency_seconds", f'{WHO},model_version="{OLD}"', 400, 399),
    }

    alerts = fired(tmp_path, "slo-latency", "SLOErrorBudgetBurn", series)

    assert alerts
    assert {alert["model_version"] for alert in alerts} == {NEW}


@pytest.mark.slow
@pytest.mark.parametrize("stable", ["idle", "slow for a few"])
def test_latency_alert_does_not_name_idle_or_rarely_used_stable(tmp_path: Path, stable: str) -> None:
    """Callers wait for another reason; the latest version is fast, and the stable one has no large share."""
    slow = 0 if stable == "idle" else 150
    series = {
        f"inference_request_latency_seconds_count{{{WHO}}}": f"0+1000x{MINUTES}",
        f'inference_request_latency_seconds_bucket{{{WHO},le="0.2"}}': f"0+600x{MINUTES}",
    }
    for version, count, fast in ((NEW, 1000, 1000), (OLD, slow, 0)):
        who = f'{WHO},model_version="{version}"'
        series[f"inference_latency_seconds_count{{{who}}}"] = f"0+{count}x{MINUTES}"
        series[f'inference_latency_seconds_bucket{{{who},le="0.2"}}'] = f"0+{fast}x{MINUTES}"
        series[f'model_info{{{who},alias="{"latest" if version == NEW else "stable"}"}}'] = f"1x{MINUTES}"

    alerts = fired(tmp_path, "slo-latency", "SLOErrorBudgetBurn", series)

    assert alerts
    assert {alert["model_version"] for alert in alerts} == {""}
    assert not [alert for alert in alerts if "fraud_v" in alert["summary"]]


@pytest.mark.slow
@pytest.mark.parametrize("stable", ["idle", "slow for a few"])
def test_slow_stable_does_not_breach_pipeline_latency_slo(tmp_path: Path, stable: str) -> None:
    slow = 0 if stable == "idle" else 2
    who = f'{WHO},model_version="{OLD}"'
    series = {
        f"inference_request_latency_seconds_count{{{WHO}}}": f"0+1000x{MINUTES}",
        f'inference_request_latency_seconds_bucket{{{WHO},le="0.2"}}': f"0+{1000 - slow}x{MINUTES}",
        f"inference_latency_seconds_count{{{who}}}": f"0+{slow}x{MINUTES}",
        f'inference_latency_seconds_bucket{{{who},le="0.2"}}': f"0x{MINUTES}",
    }

    assert fired(tmp_path, "slo-latency", "SLOErrorBudgetBurn", series) == []


@pytest.mark.slow
def test_error_budget_is_not_reset_by_new_version(tmp_path: Path) -> None:
    """All that was bad was bad of the version before: the pipeline's budget is spent."""
    series = {
        requests("error"): f"0+20x45 900x{MINUTES}",
        requests("success"): f"0+1000x{MINUTES}",
        of_version(OLD, "error"): "0+20x45",
        of_version(NEW, "success"): f"_x45 0+1000x{MINUTES}",
    }

    (alert,) = fired(tmp_path, "slo-availability", "ErrorBudgetExhausted", series)

    assert alert["labels"]["pipeline"] == "fraud"


def test_alert_summaries_avoid_1_times() -> None:
    texts = [
        str(rule["annotations"]["summary"])
        for held in prometheus_tools.groups().values()
        for rule in held
        if "alert" in rule
    ]  # type: ignore[index]

    assert [text for text in texts if re.search(r"(?<![\d.])1 times", text)] == []
