"""An alert about a pipeline names the version at fault, and no version where none is: evaluated by promtool.

Inputs and expected values are written by hand; they share no code with the generated tests.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.monitoring import tools

MINUTES = 90
_NEW, _OLD = "fraud_v7", "fraud_v6"
Series = Mapping[str, str]


@pytest.mark.slow
def test_a_few_rejected_requests_among_many_alert_nobody(tmp_path: Path) -> None:
    """40 of 90 000 and 8 of 5 400 000: both are far below the budget of 0.1 %."""
    for rejected, answered in ((40, 1000), (8, 60_000)):
        series = {
            _requests("rejected"): f"0x30 {rejected}x{MINUTES}",
            _requests("success"): f"0+{answered}x{MINUTES}",
            _version(_NEW, "success"): f"0+{answered}x{MINUTES}",
        }

        assert _fired(tmp_path, "slo-availability", "SLOErrorBudgetBurn", series) == []
        assert _fired(tmp_path, "service", "InferenceAcuteErrors", series) == []


@pytest.mark.slow
def test_rejected_requests_name_no_version_and_no_word_is_left_for_it(tmp_path: Path) -> None:
    series = {
        _requests("rejected"): f"0+300x{MINUTES}",
        _requests("success"): f"0+700x{MINUTES}",
        _version(_NEW, "success"): f"0+700x{MINUTES}",
        _version(_NEW, "timeout"): f"0+2x{MINUTES}",
        f'inference_refused_total{{{_WHO},model_version="{_NEW}",reason="busy"}}': f"0+300x{MINUTES}",
    }

    alerts = _fired(tmp_path, "slo-availability", "SLOErrorBudgetBurn", series)

    assert alerts
    for alert in alerts:
        assert alert["model_version"] == ""
        assert "fraud_v" not in alert["summary"]
        assert re.search(r"30% of events are bad; the error budget burns", alert["summary"])


@pytest.mark.parametrize("status", ["timeout", pytest.param("error", marks=pytest.mark.slow)])
def test_the_version_that_fails_is_named_and_the_one_that_answers_is_not(tmp_path: Path, status: str) -> None:
    series = {
        _requests(status): f"0+300x{MINUTES}",
        _requests("success"): f"0+700x{MINUTES}",
        _version(_NEW, "success"): f"0+700x{MINUTES}",
        _version(_NEW, status): f"0+300x{MINUTES}",
        _version(_OLD, "error"): f"0+100x{MINUTES}",
        _version(_OLD, "fallback"): f"0+200x{MINUTES}",
    }

    for alert in _fired(tmp_path, "slo-availability", "SLOErrorBudgetBurn", series):
        assert alert["model_version"] == _NEW
        assert f"30% of events are bad, most of them by {_NEW};" in alert["summary"]


def test_a_version_whose_breaker_is_open_is_named_for_the_requests_kept_from_it(tmp_path: Path) -> None:
    series = {
        _requests("error"): f"0+1000x{MINUTES}",
        f'inference_refused_total{{{_WHO},model_version="{_NEW}",reason="crashed"}}': f"0+990x{MINUTES}",
        _version(_NEW, "error"): f"0+10x{MINUTES}",
    }

    (alert,) = _fired(tmp_path, "service", "InferenceAcuteErrors", series)

    assert alert["model_version"] == _NEW


def test_of_two_versions_that_both_fail_the_first_in_line_is_named(tmp_path: Path) -> None:
    """By its name the first one is neither the first nor the last."""
    series = {_requests("error"): f"0+1000x{MINUTES}"}
    for name in ("fraud_v1", _NEW, "fraud_v9"):
        series[_version(name, "error")] = f"0+1000x{MINUTES}"
    series[f'model_info{{{_WHO},model_version="{_NEW}",alias="latest"}}'] = f"1x{MINUTES}"
    series[f'model_info{{{_WHO},model_version="fraud_v1",alias="stable"}}'] = f"1x{MINUTES}"

    (alert,) = _fired(tmp_path, "service", "InferenceAcuteErrors", series)

    assert alert["model_version"] == _NEW


@pytest.mark.slow
def test_slow_answers_name_the_slow_version(tmp_path: Path) -> None:
    def seconds(name: str, labels: str, count: int, fast: int) -> Series:
        return {
            f"{name}_count{{{labels}}}": f"0+{count}x{MINUTES}",
            f'{name}_bucket{{{labels},le="0.2"}}': f"0+{fast}x{MINUTES}",
        }

    series = {
        **seconds("inference_request_latency_seconds", _WHO, 1000, 600),
        **seconds("inference_latency_seconds", f'{_WHO},model_version="{_NEW}"', 1000, 600),
        **seconds("inference_latency_seconds", f'{_WHO},model_version="{_OLD}"', 400, 399),
    }

    alerts = _fired(tmp_path, "slo-latency", "SLOErrorBudgetBurn", series)

    assert alerts
    assert {alert["model_version"] for alert in alerts} == {_NEW}


@pytest.mark.slow
@pytest.mark.parametrize("stable", ["idle", "slow for a few"])
def test_slow_requests_do_not_name_a_stable_that_is_idle_or_slow_for_a_few(tmp_path: Path, stable: str) -> None:
    """Callers wait for another reason; the latest version is fast, and the stable one has no large share."""
    slow = 0 if stable == "idle" else 150
    series = {
        f"inference_request_latency_seconds_count{{{_WHO}}}": f"0+1000x{MINUTES}",
        f'inference_request_latency_seconds_bucket{{{_WHO},le="0.2"}}': f"0+600x{MINUTES}",
    }
    for version, requests, fast in ((_NEW, 1000, 1000), (_OLD, slow, 0)):
        who = f'{_WHO},model_version="{version}"'
        series[f"inference_latency_seconds_count{{{who}}}"] = f"0+{requests}x{MINUTES}"
        series[f'inference_latency_seconds_bucket{{{who},le="0.2"}}'] = f"0+{fast}x{MINUTES}"
        series[f'model_info{{{who},alias="{"latest" if version == _NEW else "stable"}"}}'] = f"1x{MINUTES}"

    alerts = _fired(tmp_path, "slo-latency", "SLOErrorBudgetBurn", series)

    assert alerts
    assert {alert["model_version"] for alert in alerts} == {""}
    assert not [alert for alert in alerts if "fraud_v" in alert["summary"]]


@pytest.mark.slow
@pytest.mark.parametrize("stable", ["idle", "slow for a few"])
def test_a_slow_stable_does_not_breach_the_latency_of_a_pipeline_whose_latest_is_fast(
    tmp_path: Path, stable: str
) -> None:
    slow = 0 if stable == "idle" else 2
    who = f'{_WHO},model_version="{_OLD}"'
    series = {
        f"inference_request_latency_seconds_count{{{_WHO}}}": f"0+1000x{MINUTES}",
        f'inference_request_latency_seconds_bucket{{{_WHO},le="0.2"}}': f"0+{1000 - slow}x{MINUTES}",
        f"inference_latency_seconds_count{{{who}}}": f"0+{slow}x{MINUTES}",
        f'inference_latency_seconds_bucket{{{who},le="0.2"}}': f"0x{MINUTES}",
    }

    assert _fired(tmp_path, "slo-latency", "SLOErrorBudgetBurn", series) == []


def test_overload_that_falls_back_names_no_version_and_has_a_trace(tmp_path: Path) -> None:
    series = {
        _requests("fallback"): f"0+400x{MINUTES}",
        _requests("success"): f"0+600x{MINUTES}",
        _fallback(_NEW, "busy"): f"0+399x{MINUTES}",
        _fallback(_NEW, "timeout"): f"0+1x{MINUTES}",
        _fell_back_example("", "of_pipeline"): f"1x{MINUTES}",
        _fell_back_example(_NEW, "of_version"): f"1x{MINUTES}",
    }

    (alert,) = _fired(tmp_path, "service", "InferenceFallbackRatioHigh", series)

    assert "model_version" not in alert["labels"]
    assert "model_version" not in alert
    assert alert["trace_id"] == "of_pipeline"


@pytest.mark.slow
def test_each_version_that_others_answer_for_has_an_alert_with_its_own_trace(tmp_path: Path) -> None:
    """A version whose few failures are in between is not named."""
    series = {
        _requests("default"): f"0+300x{MINUTES}",
        _requests("fallback"): f"0+200x{MINUTES}",
        _requests("success"): f"0+500x{MINUTES}",
        _fallback(_NEW, "timeout"): f"0+100x{MINUTES}",
        _fallback(_NEW, "crashed"): f"0+400x{MINUTES}",
        _fallback(_OLD, "timeout"): f"0+300x{MINUTES}",
        _fallback("fraud_v5", "timeout"): f"0+40x{MINUTES}",
        **{_fell_back_example(name, f"of_{name}"): f"1x{MINUTES}" for name in ("", _NEW, _OLD, "fraud_v5")},
    }

    alerts = _fired(tmp_path, "service", "InferenceFallbackRatioHigh", series)

    found = {alert["labels"]["model_version"]: (alert["trace_id"], alert["value"]) for alert in alerts}
    assert found == {_NEW: (f"of_{_NEW}", "0.5"), _OLD: (f"of_{_OLD}", "0.3")}
    assert all("fall back to another version" in alert["summary"] for alert in alerts)


@pytest.mark.slow
def test_another_version_at_fault_is_another_alert(tmp_path: Path) -> None:
    """So it is a group of its own in Alertmanager, and does not wait for the interval of a group that was sent."""
    series = {
        _requests("fallback"): f"0+200x{MINUTES}",
        _requests("success"): f"0+500x{MINUTES}",
        _fallback(_OLD, "timeout"): f"0+200x{MINUTES - 2} {200 * (MINUTES - 2)}x2",
        _fallback(_NEW, "timeout"): f"0x{MINUTES - 2} 0+200x2",
    }

    alerts = _fired(tmp_path, "service", "InferenceFallbackRatioHigh", series)

    assert [alert["labels"]["model_version"] for alert in alerts] == [_NEW]


def test_the_trace_of_unseen_categories_is_that_of_the_column_of_the_alert(tmp_path: Path) -> None:
    who = f'{_WHO},model_version="{_NEW}"'
    unseen, example = f"inference_unseen_category_total{{{who},column=", f"inference_example_info{{{who},kind="
    series = {
        f"inference_rows_total{{{who}}}": f"0+1000x{MINUTES}",
        f'{unseen}"city"}}': f"0+300x{MINUTES}",
        f'{unseen}"colour"}}': f"0+1x{MINUTES}",
        f'{example}"unseen",column="colour",trace_id="of_colour"}}': f"1x{MINUTES}",
        f'{example}"unseen",column="city",trace_id="of_city"}}': f"1x{MINUTES}",
        f'{example}"error",trace_id="of_error"}}': f"1x{MINUTES}",
    }

    (alert,) = _fired(tmp_path, "service", "InferenceUnseenCategories", series)

    assert (alert["labels"]["column"], alert["trace_id"]) == ("city", "of_city")


def test_every_alert_that_bears_a_version_finds_a_trace() -> None:
    bearing = {
        alert["alertname"]
        for held in tools.tests().values()
        for test in held["tests"]
        for alert in test.get("alert_rule_test", [])
        if any("model_version" in expected["exp_labels"] for expected in alert.get("exp_alerts", []))
    }
    rules = [rule for held in tools.groups().values() for rule in held if rule.get("alert") in bearing]

    assert {"InferenceFallbackRatioHigh", "InferenceUnseenCategories", "ModelBreakerOpen"} <= bearing
    assert [rule["alert"] for rule in rules if not rule["annotations"].get("trace_id")] == []  # type: ignore[attr-defined]


@pytest.mark.slow
def test_a_new_version_does_not_begin_with_a_full_budget(tmp_path: Path) -> None:
    """All that was bad was bad of the version before: the pipeline's budget is spent."""
    series = {
        _requests("error"): f"0+20x45 900x{MINUTES}",
        _requests("success"): f"0+1000x{MINUTES}",
        _version(_OLD, "error"): "0+20x45",
        _version(_NEW, "success"): f"_x45 0+1000x{MINUTES}",
    }

    (alert,) = _fired(tmp_path, "slo-availability", "ErrorBudgetExhausted", series)

    assert alert["labels"]["pipeline"] == "fraud"


def test_no_text_says_1_times() -> None:
    texts = [
        str(rule["annotations"]["summary"]) for held in tools.groups().values() for rule in held if "alert" in rule
    ]  # type: ignore[index]

    assert [text for text in texts if re.search(r"(?<![\d.])1 times", text)] == []


_WHO = 'job="inference",pipeline="fraud"'


def _requests(status: str) -> str:
    return f'inference_requests_total{{{_WHO},status="{status}"}}'


def _version(name: str, status: str) -> str:
    return f'inference_total{{{_WHO},model_version="{name}",status="{status}"}}'


def _fallback(version: str, reason: str) -> str:
    return f'inference_fallback_total{{{_WHO},model_version="{version}",reason="{reason}"}}'


def _fell_back_example(version: str, trace_id: str) -> str:
    return f'inference_example_info{{{_WHO},model_version="{version}",kind="fallback",trace_id="{trace_id}"}}'


def _fired(folder: Path, group: str, alert: str, series: Series) -> list[dict[str, Any]]:
    """Return the annotations and labels of the alerts of a name that fire after 90 minutes.

    promtool prints them only as a difference to what a test expects: so none are expected.
    """
    test = {
        "rule_files": [str(tools.RULES / f"{group}.yaml")],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "alert_rule_test": [{"eval_time": f"{MINUTES}m", "alertname": alert}],
            }
        ],
    }
    file = folder / "test.yaml"
    file.write_text(yaml.safe_dump(test))
    said = tools.run("promtool", "test", "rules", os.path.relpath(file, Path.cwd()))
    if said.returncode == 0:
        return []
    got = said.stdout.partition("got:")[2] + said.stderr.partition("got:")[2]
    labels = re.findall(r"Labels:\{(.*)\}", got)
    notes = re.findall(r"Annotations:\{(.*)\}", got)
    assert labels, said.stdout + said.stderr
    return [{**_pairs(note), "labels": _pairs(label)} for label, note in zip(labels, notes, strict=True)]


def _pairs(text: str) -> dict[str, str]:
    return dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', text))
