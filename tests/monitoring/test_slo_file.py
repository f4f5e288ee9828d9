"""A file of promises is taken as it is meant, or refused with the line that has to change."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest

from ai_workflow.cli.main import exit_code
from ai_workflow.config.problems import ConfigError
from ai_workflow.slo import build, reader, rules
from tests.monitoring import prometheus_tools

OWN = reader.own().read_text()
SLOTH = """\
version: prometheus/v1
service: shop
labels: {team: web}
slos:
  - name: requests
    objective: 99.9
    description: Few requests fail.
    labels: {tier: "1"}
    sli:
      events:
        error_query: sum(rate(http_request_duration_seconds_count{job="shop",code=~"(5..|429)"}[{{.window}}]))
        total_query: sum(rate(http_request_duration_seconds_count{job="shop"}[{{ .window }}]))
    alerting:
      name: ShopErrors
      labels: {category: availability}
      annotations: {owner: web}
      page_alert: {labels: {severity: page}}
      ticket_alert: {disable: true}
  - name: ratio
    objective: 99
    sli: {raw: {error_ratio_query: 'avg_over_time(shop_errors:ratio{job="shop"}[{{.window}}])'}}
    alerting: {page_alert: {disable: true}}
"""
WRONG = [
    ("objective: 92\n", "objective: 92%\n", "must be a number, not `92%`"),
    ("objective: 99.9\n", "objective: 100\n", "must be between 0 and 100 percent"),
    ("objective: 99\n", "objective: 90\n", "can never fire: 14.4 times the budget 0.1"),
    ("threshold: 0.2 ", "threshold: 0.22 ", "0.22 is not a bucket of inference_request_latency_seconds"),
    (
        "metric: inference_request_latency_seconds",
        "metric: inference_latency",
        "unknown metric inference_latency_count",
    ),
    ("metric: inference_request_latency_seconds", "metric: inference_total", "a latency SLO needs a histogram"),
    ("kind: drift", "kind: drfit", "must be events or latency"),
    ("age: 30m", "age: 30min", "`30min` is neither a number nor a duration"),
    ("CheckpointStale:", "CheckpointOld:", "there is no such alert"),
    ("severity: chat, for: 1h, psi: 0.1", "severity: mail, for: 1h, psi: 0.1", "must be page or ticket or chat"),
    ("  Watchdog: {severity: chat, for: 0s}", "  Watchdog: {severity: chat, for: 0s, x: 1}", "unknown parameter x"),
    ("within: 1d", "witin: 1d", "the parameter within is missing"),
    ("repeat: 7d", "repeat: a week", "`a week` is not a duration"),
    ("period: 30d", "perod: 30d", "unknown key; did you mean 'period'?"),
    ("name: disk", "name: drift", "there are two SLOs of this name"),
]


@pytest.mark.integration
@pytest.mark.parametrize(("right", "wrong", "said"), WRONG, ids=[said for _, _, said in WRONG])
def test_invalid_slo_file_error_has_line(tmp_path: Path, right: str, wrong: str, said: str) -> None:
    path = tmp_path / "slo.yaml"
    path.write_text(OWN.replace(right, wrong))
    line = OWN[: OWN.index(right)].count("\n") + 1

    with pytest.raises(ConfigError) as caught:
        reader.load(path)

    assert any(said in str(problem) and problem.file == str(path) for problem in caught.value.problems), caught.value
    lines = [problem.line for problem in caught.value.problems if said in str(problem)]
    assert line in range(lines[0] - 1, lines[0] + 2)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("inference_totl", "unknown metric inference_totl"),
        (
            'inference_total{state="error"}',
            "inference_total has no label state; it has pipeline, model_version, status",
        ),
        ('inference_totl{job="inference"}', "unknown metric inference_totl"),
    ],
)
def test_slo_query_with_unknown_metric_is_rejected(tmp_path: Path, query: str, said: str) -> None:
    path = tmp_path / "slo.yaml"
    path.write_text(OWN.replace('inference_requests_total{status=~"error|timeout|rejected"}', query))

    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        reader.load(path)

    assert caught.value.problems[0].line == OWN[: OWN.index("    sli:")].count("\n") + 1


def test_string_literal_in_query_is_not_metric_name(tmp_path: Path) -> None:
    path = tmp_path / "slo.yaml"
    asked = "increase(inference_requests_total[{{.window}}])"
    assert asked in OWN
    path.write_text(OWN.replace(asked, f'label_replace({asked}, "of", "$1", "status", "(.+)")'))

    assert reader.load(path).slo("availability")


def test_plain_sloth_file_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "sloth.yaml"
    path.write_text(SLOTH)

    spec = reader.load(path)
    held = rules.groups(spec)
    alerts = [rule for rule in held["slo-requests"] if "alert" in rule]

    assert [rule["alert"] for rule in alerts] == ["ShopErrors", "ShopErrors"]
    assert alerts[0]["labels"] == {
        "team": "web", "tier": "1", "category": "availability", "severity": "page", "window": "page_fast",
        "burn_factor": "14.4", "slo": "requests",
    }  # fmt: skip
    assert str(alerts[0]["expr"]).startswith('slo:sli_error:ratio_rate5m{slo="requests"} > 0.0144\nand\n')
    assert {rule["labels"]["window"] for rule in held["slo-ratio"] if "alert" in rule} == {"ticket_fast", "ticket_slow"}  # type: ignore[index]


@pytest.mark.integration
def test_rules_of_sloth_file_pass_promtool(tmp_path: Path) -> None:
    path = tmp_path / "sloth.yaml"
    path.write_text(SLOTH)
    build.write(build.files(reader.load(path)), tmp_path)

    found = prometheus_tools.run(
        "promtool", "check", "rules", "--lint=all", "--lint-fatal", *(tmp_path / "prometheus" / "rules").glob("*")
    )

    assert found.returncode == 0, found.stderr


def test_sloth_rates_are_converted_to_event_counts(tmp_path: Path) -> None:
    """Sloth's queries are rates: that so many bad events stand behind an alert needs their number."""
    path = tmp_path / "sloth.yaml"
    path.write_text(SLOTH)

    records = {rule.get("record"): rule["expr"] for rule in rules.groups(reader.load(path))["slo-requests"]}

    assert str(records["slo:sli_total:increase1h"]).endswith('{job="shop"}[1h]))) * 3600')


def test_burn_rate_thresholds_are_exact() -> None:
    spec = reader.load()
    exprs = {
        rule["labels"]["window"]: str(rule["expr"]).split("\n")[0].split("> ")[1]  # type: ignore[index]
        for rule in rules.groups(spec)["slo-availability"] if "window" in str(rule["labels"])
    }  # fmt: skip

    assert exprs == {"page_fast": "0.0144", "page_slow": "0.006", "ticket_fast": "0.003", "ticket_slow": "0.001"}
    assert spec.slo("availability").budget == Decimal("0.001")


@pytest.mark.integration
def test_validate_command_reports_success(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["slo", "validate", str(reader.own())]) == 0
    assert "8 SLOs and" in capsys.readouterr().out


def test_validate_command_reports_error_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "slo.yaml"
    path.write_text("version: prometheus/v1\nservice: x\nslos:\n  - name: a\n    objective: 9x\n    sli: {}\n")

    assert exit_code(["slo", "validate", str(path)]) == 2
    assert f"{path}:5: slos.0.objective: must be a number, not `9x`" in capsys.readouterr().err


def test_validate_command_reports_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["slo", "validate", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml: cannot be read: No such file or directory" in capsys.readouterr().err
