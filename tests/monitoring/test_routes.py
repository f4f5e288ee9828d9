"""An alert reaches whom its severity says, and is silent beside something worse: asked of Alertmanager itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml
from prefect.settings import PREFECT_WORKER_QUERY_SECONDS

from ai_workflow.slo import durations, reader
from ai_workflow.slo.outputs import alertmanager_config
from tests.monitoring import prometheus_tools
from tests.monitoring.paths import GENERATED

CONFIG = GENERATED / "alertmanager" / "alertmanager.yml"


@pytest.mark.integration
def test_amtool_accepts_alertmanager_config() -> None:
    found = prometheus_tools.run("amtool", "check-config", CONFIG)

    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.integration
@pytest.mark.parametrize(
    ("receiver", "labels"),
    [
        ("page", ["alertname=SLOErrorBudgetBurn", "severity=page", "slo=availability"]),
        ("ticket", ["alertname=SLOErrorBudgetBurn", "severity=ticket", "slo=availability"]),
        ("chat", ["alertname=FeatureDriftHigh", "severity=chat"]),
        ("heartbeat", ["alertname=Watchdog", "severity=chat"]),
        ("chat", ["alertname=SomebodyElses"]),
    ],
)
def test_alerts_are_routed_to_expected_receiver(receiver: str, labels: list[str]) -> None:
    found = prometheus_tools.run("amtool", "config", "routes", "test", f"--config.file={CONFIG}", *labels)

    assert found.stdout.strip() == receiver


def test_each_channel_has_webhook_with_token_and_resolved_alerts() -> None:
    own = reader.load()
    places = {**own.places, "relay": "http://relay/alertmanager", "relay_token_file": "/run/token"}
    found = alertmanager_config.config(replace(own, channels=("team", "on-call"), places=places))

    receivers = found["receivers"]
    assert isinstance(receivers, list)
    for receiver in receivers[:3]:
        assert receiver["webhook_configs"] == [
            {
                "url": f"http://relay/alertmanager/{channel}", "send_resolved": True,
                "http_config": {"authorization": {"type": "Bearer", "credentials_file": "/run/token"}},
            }
            for channel in ("team", "on-call")
        ]  # fmt: skip


def test_every_used_severity_has_receiver() -> None:
    used = {
        str(rule["labels"]["severity"])
        for held in prometheus_tools.groups().values()
        for rule in held
        if "alert" in rule
    }  # type: ignore[index]
    receivers = {receiver["name"] for receiver in yaml.safe_load(CONFIG.read_text())["receivers"]}

    assert used <= receivers


def test_page_inhibits_only_tickets_of_same_slo() -> None:
    """Labels that both lack are equal for Alertmanager: without a promise on both sides nothing may be silenced."""
    rule = yaml.safe_load(CONFIG.read_text())["inhibit_rules"][0]

    assert rule["source_matchers"] == ['severity="page"', 'slo=~".+"']
    assert 'slo=~".+"' in rule["target_matchers"]
    assert rule["equal"] == ["slo", "job", "pipeline", "model_version"]


def test_version_burn_alert_inhibits_pipeline_budget_alerts() -> None:
    """A budget alert names no version by a label, the alert that burns the budget may."""
    rule = yaml.safe_load(CONFIG.read_text())["inhibit_rules"][1]

    assert rule["target_matchers"] == ['alertname=~"ErrorBudget.*"']
    assert rule["equal"] == ["slo", "job", "pipeline"]
    assert 'alertname!~"ErrorBudget.*"' in rule["source_matchers"]


def test_alerts_are_grouped_by_pipeline() -> None:
    assert "pipeline" in yaml.safe_load(CONFIG.read_text())["route"]["group_by"]


def test_alerts_are_grouped_by_model_version() -> None:
    """In one group, the second version would wait for the interval, longer than a minute, before its rollback."""
    assert "model_version" in yaml.safe_load(CONFIG.read_text())["route"]["group_by"]


def test_rollback_delay_after_version_alert_is_below_minute() -> None:
    """Alertmanager waits for the group; the worker polls once for the flow `reaction` and once for `promotion`."""
    spec = reader.load()
    severities = {entry.severity for entry in spec.entries if entry.slo == "model"}
    polling = 2 * PREFECT_WORKER_QUERY_SECONDS.value()

    assert severities
    for severity in severities:
        assert durations.seconds(spec.routes[severity].wait) + polling < 60, severity
