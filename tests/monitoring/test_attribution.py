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


def test_overload_that_falls_back_names_no_version(tmp_path: Path) -> None:
    fallback = f'inference_fallback_total{{{_WHO},model_version="{_NEW}",reason='
    series = {
        _requests("fallback"): f"0+400x{MINUTES}",
        _requests("success"): f"0+600x{MINUTES}",
        f'{fallback}"busy"}}': f"0+399x{MINUTES}",
        f'{fallback}"timeout"}}': f"0+1x{MINUTES}",
    }

    (alert,) = _fired(tmp_path, "service", "InferenceFallbackRatioHigh", series)

    assert alert["model_version"] == ""


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
