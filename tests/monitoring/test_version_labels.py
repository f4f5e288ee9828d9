"""An alert about a version bears it as a label, with a trace of that version: evaluated by promtool.

Inputs and expected values are written by hand; they share no code with the generated tests.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.monitoring import prometheus_tools
from tests.monitoring.fired_alerts import MINUTES, NEW, OLD, WHO, fallback, fell_back_example, fired, requests

pytestmark = pytest.mark.integration


def test_overload_fallback_alert_has_trace_but_no_version(tmp_path: Path) -> None:
    series = {
        requests("fallback"): f"0+400x{MINUTES}",
        requests("success"): f"0+600x{MINUTES}",
        fallback(NEW, "busy"): f"0+399x{MINUTES}",
        fallback(NEW, "timeout"): f"0+1x{MINUTES}",
        fell_back_example("", "of_pipeline"): f"1x{MINUTES}",
        fell_back_example(NEW, "of_version"): f"1x{MINUTES}",
    }

    (alert,) = fired(tmp_path, "service", "InferenceFallbackRatioHigh", series)

    assert "model_version" not in alert["labels"]
    assert "model_version" not in alert
    assert alert["trace_id"] == "of_pipeline"


@pytest.mark.slow
def test_each_failing_version_has_separate_alert_and_trace(tmp_path: Path) -> None:
    """A version whose few failures are in between is not named."""
    series = {
        requests("default"): f"0+300x{MINUTES}",
        requests("fallback"): f"0+200x{MINUTES}",
        requests("success"): f"0+500x{MINUTES}",
        fallback(NEW, "timeout"): f"0+100x{MINUTES}",
        fallback(NEW, "crashed"): f"0+400x{MINUTES}",
        fallback(OLD, "timeout"): f"0+300x{MINUTES}",
        fallback("fraud_v5", "timeout"): f"0+40x{MINUTES}",
        **{fell_back_example(name, f"of_{name}"): f"1x{MINUTES}" for name in ("", NEW, OLD, "fraud_v5")},
    }

    alerts = fired(tmp_path, "service", "InferenceFallbackRatioHigh", series)

    found = {alert["labels"]["model_version"]: (alert["trace_id"], alert["value"]) for alert in alerts}
    assert found == {NEW: (f"of_{NEW}", "0.5"), OLD: (f"of_{OLD}", "0.3")}
    assert all("fall back to another version" in alert["summary"] for alert in alerts)


@pytest.mark.slow
def test_newly_failing_version_fires_new_alert(tmp_path: Path) -> None:
    """So it is a group of its own in Alertmanager, and does not wait for the interval of a group that was sent."""
    series = {
        requests("fallback"): f"0+200x{MINUTES}",
        requests("success"): f"0+500x{MINUTES}",
        fallback(OLD, "timeout"): f"0+200x{MINUTES - 2} {200 * (MINUTES - 2)}x2",
        fallback(NEW, "timeout"): f"0x{MINUTES - 2} 0+200x2",
    }

    alerts = fired(tmp_path, "service", "InferenceFallbackRatioHigh", series)

    assert [alert["labels"]["model_version"] for alert in alerts] == [NEW]


def test_unseen_category_alert_has_trace_of_same_column(tmp_path: Path) -> None:
    who = f'{WHO},model_version="{NEW}"'
    unseen, example = f"inference_unseen_category_total{{{who},column=", f"inference_example_info{{{who},kind="
    series = {
        f"inference_rows_total{{{who}}}": f"0+1000x{MINUTES}",
        f'{unseen}"city"}}': f"0+300x{MINUTES}",
        f'{unseen}"colour"}}': f"0+1x{MINUTES}",
        f'{example}"unseen",column="colour",trace_id="of_colour"}}': f"1x{MINUTES}",
        f'{example}"unseen",column="city",trace_id="of_city"}}': f"1x{MINUTES}",
        f'{example}"error",trace_id="of_error"}}': f"1x{MINUTES}",
    }

    (alert,) = fired(tmp_path, "service", "InferenceUnseenCategories", series)

    assert (alert["labels"]["column"], alert["trace_id"]) == ("city", "of_city")


def test_alerts_with_version_label_have_trace_annotation() -> None:
    bearing = {
        alert["alertname"]
        for held in prometheus_tools.tests().values()
        for test in held["tests"]
        for alert in test.get("alert_rule_test", [])
        if any("model_version" in expected["exp_labels"] for expected in alert.get("exp_alerts", []))
    }
    rules = [rule for held in prometheus_tools.groups().values() for rule in held if rule.get("alert") in bearing]

    assert {"InferenceFallbackRatioHigh", "InferenceUnseenCategories", "ModelBreakerOpen"} <= bearing
    assert [rule["alert"] for rule in rules if not rule["annotations"].get("trace_id")] == []  # type: ignore[attr-defined]
